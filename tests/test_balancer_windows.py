"""Micro-batches: what a window of them promises, what it asks for, what is left of one that fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import mtlgrad
from mtlgrad import (
    GH,
    MGDA,
    SILS,
    STCH,
    UW,
    Balancer,
    Fixed,
    GradDrop,
    GradNorm,
    MoCo,
    Normalised,
    Scalarizer,
    Sum,
    catalog,
)
from tests.nets import Losses, Net, batch, grads

SCALARIZERS = [
    method
    for name in catalog.names()
    for method in catalog.entry(name).methods
    if isinstance(method, Scalarizer) and method.traits.min_tasks <= 2  # the net has two losses
]


def same_state(one: Balancer, other: Balancer) -> None:
    left, right = one.state_dict(), other.state_dict()
    assert torch.equal(left["generator"], right["generator"])
    for a, b in zip(left["states"], right["states"], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("method", SCALARIZERS, ids=lambda m: m.name)
def test_micro_batches_of_equal_data_are_the_large_batch(method: mtlgrad.Method) -> None:
    net = Net()
    whole, split = (Balancer(method, net.trunk.parameters(), seed=3) for _ in range(2))
    for seed in range(3):
        x = batch(seed=seed)
        net.zero_grad()
        wanted = whole.backward(net.losses(x))
        large = grads(net)
        net.zero_grad()
        for _ in range(3):
            split.accumulate({t: loss / 4 for t, loss in net.losses(x).items()}, of=4)
        step = split.backward({t: loss / 4 for t, loss in net.losses(x).items()})
        torch.testing.assert_close(grads(net), large)
        torch.testing.assert_close(step.losses, wanted.losses)
        torch.testing.assert_close(step.weights, wanted.weights)
        same_state(split, whole)


@pytest.mark.parametrize("method", SCALARIZERS, ids=lambda m: m.name)
def test_a_state_moves_by_the_losses_of_the_whole_window(method: mtlgrad.Method) -> None:
    net, x = Net(), batch(12)
    whole, split = (Balancer(method, net.trunk.parameters(), seed=3) for _ in range(2))
    for _ in range(2):
        whole.backward(net.losses(x))
        parts = [{t: loss / 3 for t, loss in net.losses(piece).items()} for piece in x.chunk(3)]
        split.accumulate(parts[0], of=3)
        split.accumulate(parts[1], of=3)
        split.backward(parts[2])
        same_state(split, whole)


@pytest.mark.parametrize(
    "method", [GradNorm(), Normalised(MGDA(), by="loss"), MoCo(), mtlgrad.DBMTL()], ids=lambda m: m.name
)
def test_methods_that_read_gradients_too_decide_on_the_whole_window(method: mtlgrad.Method) -> None:
    net, x = Net(), batch(12)
    whole, split = (Balancer(method, net.trunk.parameters()) for _ in range(2))
    for of in (None, 3):
        net.zero_grad()
        whole.backward(net.losses(x))
        large = grads(net)
        net.zero_grad()
        parts = [{t: loss / 3 for t, loss in net.losses(piece).items()} for piece in x.chunk(3)]
        split.accumulate(parts[0], of=of)
        split.accumulate(parts[1], of=of)
        split.backward(parts[2])
        torch.testing.assert_close(grads(net), large)
        same_state(split, whole)


def test_what_a_window_asks_for() -> None:
    net, x = Net(), batch()
    shared = list(net.trunk.parameters())
    for method in (SILS(), STCH(), UW()):
        with pytest.raises(ValueError, match=rf"{method.name}.*accumulate\(losses, of=k\)"):
            Balancer(method, shared).accumulate(net.losses(x))
    assert net.trunk[0].weight.grad is None
    for free in (Sum(), Fixed((0.3, 2.0)), mtlgrad.RLW(), GH()):
        Balancer(free, shared).accumulate(net.losses(x))
    balancer = Balancer(GH(), shared)
    for of in (0, 2.0, True, "2"):
        with pytest.raises(ValueError, match="of must be an int >= 1"):
            balancer.accumulate(net.losses(x), of=of)  # type: ignore[arg-type]
    balancer.accumulate(net.losses(x), of=3)
    with pytest.raises(ValueError, match="of must be the same.*None after 3"):
        balancer.accumulate(net.losses(x))
    balancer.accumulate(net.losses(x), of=3)
    with pytest.raises(ValueError, match="of=3.*window of 2"):
        balancer.backward(net.losses(x))


def failing(losses: Losses) -> Losses:
    """The same, but for the last one's graph, which breaks on the way back."""

    def fail(_: Tensor) -> None:
        raise RuntimeError("out of memory")

    broken = losses["b"] * 1
    broken.register_hook(fail)
    return {**losses, "b": broken}


@pytest.mark.parametrize("method", [GH(), GradDrop(), Sum(), UW(lr=1.0)], ids=lambda m: m.name)
def test_a_window_that_fails_leaves_nothing_to_the_next(method: mtlgrad.Method) -> None:
    net, x = Net(), batch()
    Balancer(method, net.trunk.parameters()).backward(net.losses(x))
    plain = grads(net)
    breaks: list[tuple[type[Exception], Callable[[Balancer], object]]] = [
        (RuntimeError, lambda b: b.accumulate(failing(net.losses(x)), of=2)),
        (RuntimeError, lambda b: b.backward(failing(net.losses(x)))),
        (ValueError, lambda b: b.accumulate({"c": net.losses(x)["a"]}, of=2)),
        (ValueError, lambda b: b.backward({"c": net.losses(x)["a"]})),
    ]
    for error, fail in breaks:
        for before in (0, 1):
            balancer = Balancer(method, net.trunk.parameters(), tasks=("a", "b"))
            for _ in range(before):
                balancer.accumulate(net.losses(x), of=2)
            with pytest.raises(error):
                fail(balancer)
            assert balancer.state_dict()["states"] is None
            net.zero_grad()
            step = balancer.backward(net.losses(x))
            torch.testing.assert_close(step.losses, torch.stack([*net.losses(x).values()]).detach())
            if not method.traits.stochastic:
                torch.testing.assert_close(grads(net), plain)


def test_parameters_do_not_change_inside_a_window() -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.trunk.parameters())
    balancer.accumulate(net.losses(x))
    net.float()
    with pytest.raises(ValueError, match="dtype or device.*inside a window"):
        balancer.backward(net.losses(x.float()))
