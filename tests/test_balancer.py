"""The Balancer against what it stands for: gradients taken one by one, combined by hand."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import mtlgrad
from mtlgrad import (
    GH,
    MGDA,
    SILS,
    UW,
    Balancer,
    CAGrad,
    Every,
    Fixed,
    GHPlusPlus,
    GradDrop,
    GradVac,
    Mean,
    MoCo,
    PCGrad,
    Sum,
)

Losses = dict[str, Tensor]


class Net(nn.Module):
    """A trunk and two heads whose targets pull apart."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))
        self.heads = nn.ModuleDict({"a": nn.Linear(5, 3), "b": nn.Linear(5, 3)})
        self.double()
        self.passes: list[int] = []  # grows by one with each backward pass through the trunk

    def losses(self, x: Tensor, trunk: Callable[[Tensor], Tensor] | None = None) -> Losses:
        z = (trunk or self.trunk)(x)
        z.register_hook(lambda _: self.passes.append(1))
        return self.losses_at(z)

    def losses_at(self, z: Tensor) -> Losses:
        return {
            "a": (self.heads["a"](z) - 1).square().mean() + (z - 2).square().mean(),
            "b": 3 * ((self.heads["b"](z) + 1).square().mean() + (z + 1).square().mean()),
        }


def batch(n: int = 8, seed: int = 1) -> Tensor:
    return torch.randn(n, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def flat(tensors: object) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])  # type: ignore[attr-defined]


def grads(module: nn.Module) -> Tensor:
    return flat([torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()])


def jacobian(net: Net, x: Tensor) -> Tensor:
    """J by hand."""
    parameters = list(net.trunk.parameters())
    return torch.stack(
        [flat(torch.autograd.grad(loss, parameters, retain_graph=True)) for loss in net.losses(x).values()]
    )


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


# ------------------------------------------------------------------------------- non-finite


@pytest.mark.parametrize("method", [GH(), MGDA(), PCGrad(), GradDrop(), Sum()], ids=lambda m: m.name)
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_non_finite_gradients_give_the_plain_sum(method: mtlgrad.Method, bad: float) -> None:
    net, x = Net(), batch()
    balancer = Balancer(method, net.trunk.parameters())
    balancer.backward(net.losses(x))
    before = copy.deepcopy(balancer.state_dict())
    net.zero_grad()
    losses = net.losses(x)
    step = balancer.backward({"a": losses["a"] * bad, "b": losses["b"]})
    assert not bool(step.finite)
    assert not grads(net.trunk).isfinite().all(), "a GradScaler must be able to see it"
    after = balancer.state_dict()
    assert after["states"] == before["states"]
    assert torch.equal(after["generator"], before["generator"])
    net.zero_grad()
    assert bool(balancer.backward(net.losses(x)).finite)
    assert grads(net).isfinite().all()


@pytest.mark.parametrize("method", [Sum(), Fixed((0.3, 2.0)), GH(), Every(k=5, inner=GH())], ids=lambda m: m.name)
def test_a_finite_loss_with_an_infinite_gradient_is_seen(method: mtlgrad.Method) -> None:
    w = nn.Parameter(torch.ones(3))
    balancer = Balancer(method, [w], apply="loss")

    def losses(z: float) -> Losses:
        root = (w.sum() * z).clamp(min=0).sqrt()  # at 0 its slope is infinite
        return {"a": root, "b": w.square().sum()}

    for z in (1.0, 1.0):
        assert bool(balancer.backward(losses(z)).finite)
    before = copy.deepcopy(balancer.state_dict()["states"])
    w.grad = None
    step = balancer.backward(losses(0.0))
    assert not bool(step.finite)
    assert not w.grad.isfinite().all()  # type: ignore[union-attr]
    for one, old in zip(balancer.state_dict()["states"], before, strict=True):
        assert all(torch.equal(one[name], value) for name, value in old.items())


def test_one_bad_group_holds_back_all_of_them() -> None:
    w, v = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    balancer = Balancer(GradVac(), [w, v], groups="tensor")
    balancer.backward({"a": (w * v).sum(), "b": -(w * v.square()).sum()})
    before = copy.deepcopy(balancer.state_dict()["states"])
    w.grad = v.grad = None
    step = balancer.backward({"a": (w.sum() * 0).sqrt() + v.sum(), "b": w.sum() - 2 * v.square().sum()})
    assert not bool(step.finite)
    torch.testing.assert_close(v.grad, torch.full((3,), 1.0 - 4.0))
    for one, old in zip(balancer.state_dict()["states"], before, strict=True):
        assert torch.equal(one["targets"], old["targets"])


def test_a_window_that_ends_badly_moves_no_state() -> None:
    w = nn.Parameter(torch.ones(2))
    balancer = Balancer(UW(lr=1.0), [w])
    balancer.accumulate({"a": w.sum(), "b": w.square().sum()})
    step = balancer.backward({"a": w.sum() * math.nan, "b": w.square().sum()})
    assert not bool(step.finite)
    (state,) = balancer.state_dict()["states"]
    assert all(torch.equal(state[name], value) for name, value in UW().init(2).items())


def test_a_refused_micro_batch_opens_no_window() -> None:
    w = nn.Parameter(torch.ones(2))
    balancer = Balancer(SILS(), [w])
    with pytest.raises(ValueError, match="SILS"):
        balancer.accumulate({"a": -w.sum(), "b": w.sum()})
    assert balancer.backward({"a": w.sum(), "b": 2 * w.sum()}).losses.tolist() == [2.0, 4.0]


def test_a_frozen_trunk_leaves_the_heads_to_train() -> None:
    net, x = Net(), batch()
    for p in net.trunk.parameters():
        p.requires_grad_(False)
    for balancer in (
        Balancer(Sum(), net.trunk.parameters(), diagnose_every=1),
        Balancer(GH(), net.trunk.parameters()),
        Balancer(GH(), net.trunk.parameters(), apply="loss"),
    ):
        net.zero_grad()
        losses = {t: (net.heads[t](net.trunk(x)) - 1).square().mean() for t in ("a", "b")}
        balancer.backward(losses)
        assert net.heads["a"].weight.grad is not None
        assert net.trunk[0].weight.grad is None


def test_features_of_one_batch_are_not_averaged_over_steps() -> None:
    net, x = Net(), batch()
    z = net.trunk(x)
    with pytest.raises(ValueError, match="MoCo.*one batch"):
        Balancer(MoCo(), net.trunk.parameters()).backward(net.losses_at(z), features=z)


def test_loss_scale_changes_nothing_but_the_scale() -> None:
    net, x = Net(), batch()
    for method in (GH(), MGDA(), CAGrad(), GHPlusPlus(form="rotation")):
        net.zero_grad()
        Balancer(method, net.trunk.parameters()).backward(net.losses(x))
        plain = grads(net)
        net.zero_grad()
        Balancer(method, net.trunk.parameters()).backward({t: 65536 * loss for t, loss in net.losses(x).items()})
        torch.testing.assert_close(grads(net) / 65536, plain)


def test_grad_scaler_skips_an_overflow_and_goes_on() -> None:
    net = Net().float()
    x = batch().float()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    balancer = Balancer(GH(), net.trunk.parameters())
    start = flat([p.detach().clone() for p in net.parameters()])
    for factor in (math.inf, 1.0):
        optimizer.zero_grad()
        balancer.backward({t: scaler.scale(loss) * factor for t, loss in net.losses(x).items()})
        scaler.step(optimizer)
        scaler.update()
        moved = not torch.equal(flat([p.detach() for p in net.parameters()]), start)
        assert moved == (factor == 1.0)
    assert scaler.get_scale() == 2.0**7


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


def test_sparse_gradients() -> None:
    table = nn.Embedding(6, 3, sparse=True, dtype=torch.float64)
    z = table(torch.tensor([0, 2, 2]))
    step = Balancer(GH(), table.parameters()).backward({"a": z.square().sum(), "b": -(z.sum())})
    assert step.gram.isfinite().all()  # type: ignore[union-attr]
    assert torch.count_nonzero(table.weight.grad[1]) == 0  # type: ignore[index]


def test_one_task_is_plain_backward() -> None:
    net, x = Net(), batch()
    for method in (GH(), MGDA(), PCGrad(), Sum()):
        net.zero_grad()
        Balancer(method, net.trunk.parameters()).backward({"a": net.losses(x)["a"]})
        got = grads(net)
        net.zero_grad()
        net.losses(x)["a"].backward()
        torch.testing.assert_close(got, grads(net), msg=method.name)


# ------------------------------------------------------------------------------------ state


@pytest.mark.parametrize("method", [PCGrad(), GradDrop()], ids=lambda m: m.name)
def test_state_dict_restores_a_fresh_object(method: mtlgrad.Method) -> None:
    net, x = Net(), batch()

    def run(balancer: Balancer) -> Tensor:
        net.zero_grad()
        losses = net.losses(x)
        balancer.backward({**losses, "c": -losses["a"] - 2 * losses["b"] ** 2})
        return grads(net)

    balancer = Balancer(method, net.trunk.parameters(), seed=3)
    run(balancer)
    saved = copy.deepcopy(balancer.state_dict())
    wanted = [run(balancer) for _ in range(3)]
    fresh = Balancer(method, net.trunk.parameters())
    fresh.load_state_dict(saved)
    assert all(torch.equal(run(fresh), one) for one in wanted)


def test_state_of_another_method_or_task_is_refused() -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.trunk.parameters())
    balancer.backward(net.losses(x))
    state = balancer.state_dict()
    with pytest.raises(ValueError, match=r"GH.*MGDA"):
        Balancer(MGDA(), net.trunk.parameters()).load_state_dict(state)
    with pytest.raises(ValueError, match="'a', 'b'"):
        Balancer(GH(), net.trunk.parameters(), tasks=("b", "c")).load_state_dict(state)
    with pytest.raises(ValueError, match="generator"):
        balancer.load_state_dict({"method": "GH"})
    with pytest.raises(ValueError, match="groups"):
        Balancer(GH(), net.trunk.parameters(), groups="tensor").load_state_dict(state)
    with pytest.raises(ValueError, match="loss"):
        Balancer(GH(), net.trunk.parameters(), apply="loss").load_state_dict(state)
    balancer.accumulate(net.losses(x))
    with pytest.raises(ValueError, match=r"backward\(\)"):
        balancer.state_dict()


# ----------------------------------------------------------------------------------- errors


def test_constructor_errors() -> None:
    net = Net()
    shared = list(net.trunk.parameters())
    cases: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (TypeError, r"method.*GH\(\)", lambda: Balancer(GH, shared)),  # type: ignore[arg-type]
        (TypeError, "method.*'gh'", lambda: Balancer("gh", shared)),  # type: ignore[arg-type]
        (ValueError, "shared.*at least one", lambda: Balancer(GH(), [])),
        (TypeError, "shared.*list", lambda: Balancer(GH(), shared[0])),
        (TypeError, r"shared\[0\].*tuple.*names", lambda: Balancer(GH(), net.trunk.named_parameters())),  # type: ignore[arg-type]
        (ValueError, r"shared\[0\].*leaf", lambda: Balancer(GH(), [shared[0] * 2])),
        (ValueError, "apply.*'shared' or 'loss'.*'heads'", lambda: Balancer(GH(), shared, apply="heads")),  # type: ignore[arg-type]
        (ValueError, "apply='loss'.*GradDrop", lambda: Balancer(GradDrop(), shared, apply="loss")),
        (ValueError, "apply='loss'.*groups", lambda: Balancer(GH(), shared, apply="loss", groups="tensor")),
        (ValueError, "groups.*Sum", lambda: Balancer(Sum(), shared, groups="tensor")),
        (ValueError, "groups.*'tensor'.*'layer'", lambda: Balancer(GH(), shared, groups="layer")),  # type: ignore[arg-type]
        (ValueError, "groups.*exactly", lambda: Balancer(GH(), shared, groups={"low": shared[:1]})),
        (ValueError, "groups overlap", lambda: Balancer(GH(), shared, groups={"x": shared, "y": shared[:1]})),
        (TypeError, "seed.*'0'", lambda: Balancer(GH(), shared, seed="0")),  # type: ignore[arg-type]
        (ValueError, "diagnose_every.*-1", lambda: Balancer(Sum(), shared, diagnose_every=-1)),
        (ValueError, "m=3", lambda: Balancer(GHPlusPlus(), shared, tasks=("a", "b", "c"))),
        (TypeError, "tasks.*'ab'", lambda: Balancer(GH(), shared, tasks="ab")),
        (ValueError, "distinct", lambda: Balancer(GH(), shared, tasks=("a", "a"))),
    ]
    for error, words, call in cases:
        with pytest.raises(error, match=words):
            call()


def test_backward_errors_leave_everything_as_it_was() -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.trunk.parameters())
    balancer.backward(net.losses(x))
    before = grads(net)
    good = net.losses(x)
    z = net.trunk(x)
    cases: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (TypeError, "losses must map.*list", lambda: balancer.backward(list(good.values()))),  # type: ignore[arg-type]
        (ValueError, "unknown task 'c'.*'a', 'b'", lambda: balancer.backward({**good, "c": good["a"]})),
        (ValueError, "missing task 'b'", lambda: balancer.backward({"a": good["a"]})),
        (ValueError, "at least one", lambda: balancer.backward({})),
        (TypeError, r"losses\['a'\].*float", lambda: balancer.backward({**good, "a": 1.0})),  # type: ignore[dict-item]
        (ValueError, r"losses\['a'\].*\[8, 5\].*mean", lambda: balancer.backward({**good, "a": z})),
        (ValueError, r"losses\['b'\].*grad", lambda: balancer.backward({**good, "b": good["b"].detach()})),
        (ValueError, r"features\[0\].*grad", lambda: balancer.backward(good, features=x)),
        (TypeError, r"features\[0\]", lambda: balancer.backward(good, features=[1.0])),  # type: ignore[list-item]
    ]
    for error, words, call in cases:
        with pytest.raises(error, match=words):
            call()
        torch.testing.assert_close(grads(net), before)
    with pytest.raises(ValueError, match="apply='loss'"):
        Balancer(GH(), net.trunk.parameters(), apply="loss").accumulate(good)


def test_several_ranks_are_refused_rather_than_left_to_drift_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.trunk.parameters())
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    with pytest.raises(RuntimeError, match="one process.*one of 2"):
        balancer.backward(net.losses(x))
    assert net.trunk[0].weight.grad is None


def test_order_of_the_mapping_does_not_matter_after_the_first_call() -> None:
    net, x = Net(), batch()
    balancer = Balancer(GHPlusPlus(), net.trunk.parameters())
    balancer.backward(net.losses(x))
    once = grads(net)
    net.zero_grad()
    balancer.backward(dict(reversed(net.losses(x).items())))
    torch.testing.assert_close(grads(net), once)
