"""The Balancer when something is not finite, not trainable or not there: nothing is corrupted, the record says so."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from torch import nn

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
    MoCo,
    PCGrad,
    Sum,
    catalog,
)
from tests.nets import Losses, Net, batch, flat, grads


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


@pytest.mark.parametrize("method", [GH(), MoCo(), UW()], ids=lambda m: m.name)
def test_a_loss_that_is_infinite_by_a_constant_has_its_gradient(method: mtlgrad.Method) -> None:
    net, x = Net(), batch()
    sum(net.losses(x).values()).backward()  # type: ignore[union-attr]
    plain = grads(net)
    net.zero_grad()
    losses = net.losses(x)
    balancer = Balancer(method, net.trunk.parameters())
    step = balancer.backward({"a": losses["a"] + math.inf, "b": losses["b"]})
    assert not bool(step.finite)
    torch.testing.assert_close(grads(net), plain)
    for state in balancer.state_dict()["states"]:
        assert all(not value.any() or name == "weights" for name, value in state.items()), "it has not moved"


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
    balancer.accumulate({"a": w.sum(), "b": w.square().sum()}, of=2)
    step = balancer.backward({"a": w.sum() * math.nan, "b": w.square().sum()})
    assert not bool(step.finite)
    (state,) = balancer.state_dict()["states"]
    assert all(torch.equal(state[name], value) for name, value in UW().init(2).items())


def test_a_refused_micro_batch_opens_no_window() -> None:
    w = nn.Parameter(torch.ones(2))
    balancer = Balancer(SILS(), [w])
    with pytest.raises(ValueError, match="SILS"):
        balancer.accumulate({"a": -w.sum(), "b": w.sum()}, of=2)
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


def test_losses_scaled_beforehand_are_right_for_scale_equivariant_methods() -> None:
    """What anybody does who scales by hand; `scale=` is right for every method (`test_balancer_scale`)."""
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
        balancer.backward({t: loss * factor for t, loss in net.losses(x).items()}, scale=scaler)
        scaler.step(optimizer)
        scaler.update()
        moved = not torch.equal(flat([p.detach() for p in net.parameters()]), start)
        assert moved == (factor == 1.0)
    assert scaler.get_scale() == 2.0**7


@pytest.mark.parametrize(
    "method", [one for name in catalog.names() for one in catalog.entry(name).methods], ids=lambda m: m.name
)
@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_step_that_is_not_finite_can_be_logged(method: mtlgrad.Method, bad: str) -> None:
    net, x = Net(), batch()
    z = net.trunk(x)
    losses = net.losses_at(z)
    tasks = max(2, method.traits.min_tasks)
    losses |= {str(k): losses["a"] + k for k in range(2, tasks)}
    losses["a"] = losses["a"] + math.inf if bad == "loss" else losses["a"] * math.inf
    features = z if method.traits.needs_features else None
    step = Balancer(method, net.trunk.parameters(), diagnose_every=1).backward(losses, features=features)
    plain = step.to_dict()
    json.dumps(plain, allow_nan=False)
    assert plain["finite"] is False
    assert plain["inner_after"] is None, "the method was not asked"
    assert not plain["fell_back"]
