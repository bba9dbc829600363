"""The Balancer against what it stands for: gradients taken one by one, combined by hand."""

from __future__ import annotations

import json
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import mtlgrad
from mtlgrad import (
    GH,
    MGDA,
    UW,
    Balancer,
    CAGrad,
    Every,
    Fixed,
    GHPlusPlus,
    GradDrop,
    Mean,
    MoCo,
    PCGrad,
    Scalarizer,
    Sum,
)
from tests.nets import Losses, Net, batch, flat, grads, jacobian

METHODS = [
    Sum(),
    Mean(),
    Fixed((0.3, 2.0)),
    GH(),
    GHPlusPlus(),
    GHPlusPlus(form="rotation"),
    PCGrad(),
    MGDA(),
    CAGrad(),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_shared_parameters_get_the_direction_and_heads_their_own_gradient(method: mtlgrad.Method) -> None:
    net, x = Net(), batch()
    J = jacobian(net, x)
    heads = [flat(torch.autograd.grad(loss, list(net.heads[t].parameters()))) for t, loss in net.losses(x).items()]
    balancer = Balancer(method, net.trunk.parameters())
    step = balancer.backward(net.losses(x))
    torch.testing.assert_close(grads(net.trunk), method(J, losses=step.losses))
    scale = step.weights.tolist() if isinstance(method, Sum | Mean | Fixed) else [1.0, 1.0]
    for head, own, w in zip(net.heads.values(), heads, scale, strict=True):
        torch.testing.assert_close(grads(head), w * own)


def test_jacobian_method_draws_from_the_balancers_generator() -> None:
    net, x = Net(), batch()
    J = jacobian(net, x)
    Balancer(GradDrop(), net.trunk.parameters(), seed=5).backward(net.losses(x))
    wanted = GradDrop()(J, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(grads(net.trunk), wanted)


@pytest.mark.parametrize("method", [GH(), MGDA(), Fixed((0.3, 2.0))], ids=lambda m: m.name)
def test_apply_loss_weights_whole_losses(method: mtlgrad.Method) -> None:
    net, x = Net(), batch()
    step = Balancer(method, net.trunk.parameters(), apply="loss").backward(net.losses(x))
    got = grads(net)
    net.zero_grad()
    sum(w * loss for w, loss in zip(step.weights, net.losses(x).values(), strict=True)).backward()  # type: ignore[union-attr]
    torch.testing.assert_close(got, grads(net))


def test_record_holds_what_happened() -> None:
    net, x = Net(), batch()
    J = jacobian(net, x)
    G = J @ J.T
    step = Balancer(GH(), net.trunk.parameters()).backward(net.losses(x))
    torch.testing.assert_close(step.gram, G)
    torch.testing.assert_close(step.weights, GH().weights(G))
    torch.testing.assert_close(step.alignment, J @ GH()(J))
    torch.testing.assert_close(step.direction_norm, GH()(J).norm())
    torch.testing.assert_close(step.norms, J.norm(dim=1))
    cosine = float(G[0, 1] / (G[0, 0] * G[1, 1]).sqrt())
    assert float(step.cosines[0, 1]) == pytest.approx(cosine)  # type: ignore[index]
    assert cosine < 0, "the fixture is meant to conflict"
    assert bool(step.conflicts_before)
    assert not bool(step.conflicts_after)
    assert float(step.inner_before) == pytest.approx(float(G[0, 1]))  # type: ignore[arg-type]
    assert float(step.inner_after) == pytest.approx(-float(G[0, 1]) * (1 - cosine**2))  # type: ignore[arg-type]
    plain = step.to_dict()
    json.dumps(plain, allow_nan=False)
    assert plain["tasks"] == ["a", "b"]
    assert plain["conflicts_before"] is True
    assert plain["weights"] == step.weights.tolist()  # type: ignore[union-attr]


def test_scalarizer_is_one_backward_pass_and_diagnoses_when_asked() -> None:
    net, x = Net(), batch()
    balancer = Balancer(Sum(), net.trunk.parameters(), diagnose_every=3)
    seen = []
    for _ in range(4):
        net.passes.clear()
        step = balancer.backward(net.losses(x))
        seen.append((step.gram is not None, len(net.passes)))
    assert seen == [(True, 3), (False, 1), (False, 1), (True, 3)]
    torch.testing.assert_close(step.gram, jacobian(net, x) @ jacobian(net, x).T)
    assert bool(step.conflicts_before)


def test_gradients_accumulate_into_grad_as_in_torch() -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.trunk.parameters())
    balancer.backward(net.losses(x))
    once = grads(net)
    balancer.backward(net.losses(x))
    torch.testing.assert_close(grads(net), 2 * once)


@pytest.mark.parametrize("method", [GH(), MGDA(), GradDrop(), Sum()], ids=lambda m: m.name)
def test_micro_batches_equal_the_large_batch(method: mtlgrad.Method) -> None:
    net, x = Net(), batch(12)
    step = Balancer(method, net.trunk.parameters()).backward(net.losses(x))
    large = grads(net)
    net.zero_grad()
    balancer = Balancer(method, net.trunk.parameters())
    parts = [{t: loss / 3 for t, loss in net.losses(piece).items()} for piece in x.chunk(3)]
    balancer.accumulate(parts[0])
    balancer.accumulate(parts[1])
    split = balancer.backward(parts[2])
    torch.testing.assert_close(grads(net), large)
    torch.testing.assert_close(split.losses, step.losses)
    balancer.backward(net.losses(x))  # the window has closed: nothing is left over
    if not method.traits.stochastic:
        torch.testing.assert_close(grads(net), 2 * large)


def test_features_give_mgda_ub() -> None:
    net, x = Net(), batch()
    z = net.trunk(x)
    step = Balancer(MGDA(), net.trunk.parameters()).backward(net.losses_at(z), features=z)
    got = grads(net)
    z = net.trunk(x)
    losses = net.losses_at(z)
    U = torch.stack([torch.autograd.grad(loss, z, retain_graph=True)[0].reshape(-1) for loss in losses.values()])
    torch.testing.assert_close(step.gram, U @ U.T)
    w = MGDA().weights(U @ U.T)
    net.zero_grad()
    own = {
        t: torch.autograd.grad(loss, list(net.heads[t].parameters()), retain_graph=True) for t, loss in losses.items()
    }
    z.backward((w @ U).view_as(z))
    torch.testing.assert_close(got[: grads(net.trunk).numel()], grads(net.trunk))
    torch.testing.assert_close(got[grads(net.trunk).numel() :], flat([g for head in own.values() for g in head]))


def test_features_take_any_number_of_tasks_through_the_trunk_once() -> None:
    net, x = Net(), batch()
    passes = []
    inside = net.trunk[0](x)
    inside.register_hook(lambda _: passes.append(1))
    z = net.trunk[1:](inside)
    losses = {**net.losses_at(z), "c": (z - 2).square().mean()}
    Balancer(GH(), net.trunk.parameters()).backward(losses, features=[z])
    assert len(passes) == 1


def test_groups_decide_separately() -> None:
    net, x = Net(), batch()
    J = jacobian(net, x)
    first = sum(p.numel() for p in net.trunk[0].parameters())
    groups = {"low": net.trunk[0].parameters(), "high": net.trunk[2].parameters()}
    step = Balancer(MGDA(), net.trunk.parameters(), groups=groups).backward(net.losses(x))
    wanted = torch.cat([MGDA()(J[:, :first]), MGDA()(J[:, first:])])
    torch.testing.assert_close(grads(net.trunk), wanted)
    assert step.groups == ("low", "high")
    assert step.weights.shape == (2, 2)  # type: ignore[union-attr]
    torch.testing.assert_close(step.gram, J @ J.T)
    torch.testing.assert_close(step.alignment, J @ wanted)
    net.zero_grad()
    step = Balancer(MGDA(), net.trunk.parameters(), groups="tensor").backward(net.losses(x))
    assert step.weights.shape == (4, 2)  # type: ignore[union-attr]
    bias = slice(48, 56)
    torch.testing.assert_close(grads(net.trunk)[bias], MGDA()(J[:, bias]))


def test_group_order_does_not_mix_up_parameters() -> None:
    net, x = Net(), batch()
    J = jacobian(net, x)
    groups = {"high": net.trunk[2].parameters(), "low": net.trunk[0].parameters()}
    Balancer(GH(), net.trunk.parameters(), groups=groups).backward(net.losses(x))
    first = sum(p.numel() for p in net.trunk[0].parameters())
    torch.testing.assert_close(grads(net.trunk), torch.cat([GH()(J[:, :first]), GH()(J[:, first:])]))


def test_unused_shared_parameters() -> None:
    net, x = Net(), batch()
    unused, half = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(5, dtype=torch.float64))
    losses = net.losses_at(net.trunk(x))
    losses["a"] = losses["a"] + (net.trunk(x) * half).sum()  # only task a touches `half`
    step = Balancer(Sum(), [*net.trunk.parameters(), unused, half], diagnose_every=1).backward(losses)
    assert unused.grad is None
    assert step.gram is not None
    net.zero_grad()
    half.grad = None
    losses = net.losses(x)
    losses["a"] = losses["a"] + (net.trunk(x) * half).sum()
    Balancer(GH(), [*net.trunk.parameters(), unused, half]).backward(losses)
    assert unused.grad is None, "an optimizer with weight decay must leave an unused parameter alone"
    assert half.grad is not None


def test_private_restricts_who_gets_a_gradient() -> None:
    net, x = Net(), batch()
    for method in (GH(), Sum()):
        net.zero_grad()
        Balancer(method, net.trunk.parameters(), private=net.heads["a"].parameters()).backward(net.losses(x))
        assert net.heads["a"].weight.grad is not None
        assert net.heads["b"].weight.grad is None
        net.zero_grad()
        Balancer(method, net.trunk.parameters(), private=()).backward(net.losses(x))
        assert net.heads["a"].weight.grad is None
        assert net.trunk[0].weight.grad is not None


def test_frozen_and_tied_parameters() -> None:
    net, x = Net(), batch()
    net.trunk[0].weight.requires_grad_(False)
    shared = [*net.trunk.parameters(), net.trunk[2].weight]  # tied: listed twice
    step = Balancer(GH(), shared, private=()).backward(net.losses(x))
    assert net.trunk[0].weight.grad is None
    parameters = [p for p in net.trunk.parameters() if p.requires_grad]
    J = torch.stack([flat(torch.autograd.grad(o, parameters, retain_graph=True)) for o in net.losses(x).values()])
    torch.testing.assert_close(step.gram, J @ J.T)


# --------------------------------------------------------------------- the rest of torch


def test_autocast_and_half_precision_parameters() -> None:
    net, x = Net().to(torch.bfloat16), batch().to(torch.bfloat16)
    step = Balancer(GH(), net.trunk.parameters()).backward(net.losses(x))
    assert net.trunk[0].weight.grad.dtype == torch.bfloat16  # type: ignore[union-attr]
    assert step.gram.dtype == torch.float64  # type: ignore[union-attr]
    net32, x32 = Net().float(), batch().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = net32.losses(x32)
    Balancer(GH(), net32.trunk.parameters()).backward(losses)
    assert net32.trunk[0].weight.grad.isfinite().all()  # type: ignore[union-attr]


def test_mixed_precision_parameters_in_one_trunk() -> None:
    torch.manual_seed(0)
    low, high = nn.Linear(4, 4, dtype=torch.bfloat16), nn.Linear(4, 2)
    z = high(low(torch.randn(3, 4, dtype=torch.bfloat16)).float())
    Balancer(GH(), [*low.parameters(), *high.parameters()]).backward({"a": z.sum(), "b": -z.square().sum()})
    assert low.weight.grad.dtype == torch.bfloat16  # type: ignore[union-attr]
    assert high.weight.grad.dtype == torch.float32  # type: ignore[union-attr]


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing(reentrant: bool) -> None:
    net, x = Net(), batch().requires_grad_()
    Balancer(GH(), net.trunk.parameters()).backward(net.losses(x))
    plain = grads(net)
    net.zero_grad()
    losses = net.losses(x, lambda v: checkpoint(net.trunk, v, use_reentrant=reentrant))
    Balancer(GH(), net.trunk.parameters()).backward(losses)
    torch.testing.assert_close(grads(net), plain)


def test_compiled_model() -> None:
    net, x = Net(), batch()
    Balancer(GH(), net.trunk.parameters()).backward(net.losses(x))
    plain = grads(net)
    net.zero_grad()
    compiled = torch.compile(net.trunk, backend="aot_eager")
    with torch._functorch.config.patch(donated_buffer=False):
        Balancer(GH(), net.trunk.parameters()).backward(net.losses(x, compiled))
    torch.testing.assert_close(grads(net), plain)


@pytest.mark.parametrize("apply", ["shared", "loss"])
@pytest.mark.parametrize("method", [Sum(), UW(), GH(), Every(2, GH())], ids=lambda m: m.name)
def test_sparse_gradients(method: mtlgrad.Method, apply: Literal["shared", "loss"]) -> None:
    rows = torch.tensor([0, 2, 2])

    def run(sparse: bool) -> Tensor:
        torch.manual_seed(0)
        table = nn.Embedding(6, 3, sparse=sparse, dtype=torch.float64)

        def losses() -> Losses:
            z = table(rows)
            return {"a": z.square().sum(), "b": -(z.sum())}

        losses()["a"].backward()  # a gradient that is there already
        balancer = Balancer(method, table.parameters(), apply=apply)
        for _ in range(3):  # more than one: `Every` holds its weights in between
            assert bool(balancer.backward(losses()).finite)
        if apply == "shared" or isinstance(method, Scalarizer):
            balancer.accumulate(losses(), of=2)
            balancer.backward(losses())
        assert table.weight.grad is not None
        return table.weight.grad.to_dense()

    got = run(sparse=True)
    torch.testing.assert_close(got, run(sparse=False))
    assert torch.count_nonzero(got[1]) == 0


def test_an_infinite_entry_of_a_sparse_gradient_is_seen() -> None:
    table = nn.Embedding(6, 3, sparse=True)
    z = table(torch.tensor([0, 2, 2]))
    step = Balancer(Sum(), table.parameters()).backward({"a": (z * 0).clamp(min=0).sum().sqrt(), "b": z.sum()})
    assert bool(step.losses.isfinite().all())
    assert not bool(step.finite)


def test_parameters_that_change_their_precision() -> None:
    net, x = Net(), batch()
    for method in (GH(), GradDrop(), MoCo(), Sum()):
        net.double()
        balancer = Balancer(method, net.trunk.parameters())
        balancer.backward(net.losses(x))
        net.zero_grad()
        net.float()
        balancer.backward(net.losses(x.float()))
        assert net.trunk[0].weight.grad.dtype == torch.float32  # type: ignore[union-attr]
        got = grads(net)
        net.zero_grad()
        again = Balancer(method, net.trunk.parameters())
        again.backward(net.losses(x.float()))
        if not (method.traits.stochastic or method.traits.stateful):
            torch.testing.assert_close(got, grads(net))
        net.zero_grad()


def test_one_task_is_plain_backward() -> None:
    net, x = Net(), batch()
    for method in (GH(), MGDA(), PCGrad(), Sum()):
        net.zero_grad()
        Balancer(method, net.trunk.parameters()).backward({"a": net.losses(x)["a"]})
        got = grads(net)
        net.zero_grad()
        net.losses(x)["a"].backward()
        torch.testing.assert_close(got, grads(net), msg=method.name)
