"""`scale=`: a loss scale reaches `.grad` and nothing else, for every method."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import mtlgrad
from mtlgrad import (
    GH,
    MGDA,
    Balancer,
    Every,
    GradDrop,
    GramAggregator,
    JacobianAggregator,
    NashMTL,
    Scalarizer,
    Sum,
    catalog,
)
from mtlgrad.losses import Scale
from tests.nets import Losses, Net, batch, flat, grads

METHODS = [method for name in catalog.names() for method in catalog.entry(name).methods]


def losses_of(net: Net, z: Tensor, tasks: int) -> Losses:
    found = net.losses_at(z)
    return found | {str(k): (found["a"] * found["b"]).sqrt() + k for k in range(2, tasks)}


def train(method: mtlgrad.Method, way: str, scaler: torch.amp.GradScaler | None) -> tuple[Tensor, mtlgrad.StepRecord]:
    """Parameters after three steps of SGD, and the last record."""
    net, tasks = Net(), max(2, method.traits.min_tasks)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    balancer = Balancer(method, net.trunk.parameters(), apply="loss" if way == "loss" else "shared", diagnose_every=2)
    for seed in range(3):
        optimizer.zero_grad()
        x = batch(seed=seed)
        if way == "micro-batches":
            x, first = x.chunk(2)
            half = {t: loss / 2 for t, loss in losses_of(net, net.trunk(first), tasks).items()}
            balancer.accumulate(half, of=2, scale=scaler)
        z = net.trunk(x)
        features = z if way == "features" else None
        step = balancer.backward(losses_of(net, z, tasks), features=features, scale=scaler)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
    return flat([p.detach() for p in net.parameters()]), step


def ways(method: mtlgrad.Method) -> list[str]:
    if method.traits.needs_features:
        return ["features"]
    if isinstance(method, Scalarizer):
        return ["shared", "micro-batches"]
    found = ["shared", "micro-batches"]
    if not (method.traits.stateful and isinstance(method, JacobianAggregator)):
        found.append("features")
    return [*found, "loss"] if isinstance(method, GramAggregator) else found


@pytest.mark.parametrize(
    ("method", "way"), [(method, way) for method in METHODS for way in ways(method)], ids=lambda one: str(one)
)
def test_a_scaler_changes_no_step(method: mtlgrad.Method, way: str) -> None:
    plain, wanted = train(method, way, None)
    scaled, step = train(method, way, torch.amp.GradScaler("cpu", init_scale=65536.0))
    assert torch.equal(scaled, plain), "a power of two rounds nothing"
    assert step.to_dict() == wanted.to_dict()


@pytest.mark.parametrize("method", [Sum(), GH(), NashMTL(), GradDrop()], ids=lambda m: m.name)
def test_a_number_scales_every_gradient(method: mtlgrad.Method) -> None:
    net, x = Net(), batch()
    Balancer(method, net.trunk.parameters()).backward(net.losses(x))
    plain = grads(net)
    net.zero_grad()
    Balancer(method, net.trunk.parameters()).backward(net.losses(x), scale=1000.1)
    torch.testing.assert_close(grads(net) / 1000.1, plain)


def test_a_scaler_that_is_off_does_nothing() -> None:
    net, x = Net(), batch()
    Balancer(GH(), net.trunk.parameters()).backward(net.losses(x))
    plain = grads(net)
    net.zero_grad()
    off = torch.amp.GradScaler("cpu", enabled=False)
    Balancer(GH(), net.trunk.parameters()).backward(net.losses(x), scale=off)
    assert torch.equal(grads(net), plain)


@pytest.mark.parametrize("at", ["parameters", "features"])
@pytest.mark.parametrize("half", ["parameters", "activations"])
@pytest.mark.parametrize("method", [GH(), MGDA(), GradDrop(leak=1.0)], ids=lambda m: m.name)
def test_gradients_that_half_precision_loses_are_seen(method: mtlgrad.Method, half: str, at: str) -> None:
    dtype = torch.float16 if half == "parameters" else torch.float32
    w = nn.Parameter(torch.tensor([1.0, 2.0], dtype=dtype))
    scale = 2.0**18

    def losses() -> tuple[Tensor, Losses]:
        z = (w * torch.tensor([1.0, 0.5], dtype=dtype)).half()
        wide = z.float()
        return z, {"a": 2.0**-28 * (wide[0] + 2 * wide[1]), "b": 2.0**-28 * (wide[0] - wide[1])}

    def step(scale: float | None) -> mtlgrad.StepRecord:
        w.grad = None
        z, found = losses()
        balancer = Balancer(method, [w])
        return balancer.backward(found, features=z if at == "features" else None, scale=scale)

    assert not step(None).gram.any(), "2^-28 is below what float16 holds"  # type: ignore[union-attr]
    trunk = torch.tensor([1.0, 0.5]) if at == "parameters" else torch.ones(2)
    J = 2.0**-28 * torch.tensor([[1.0, 2.0], [1.0, -1.0]]) * trunk
    record = step(scale)
    torch.testing.assert_close(record.gram, (J @ J.T).double())
    direction = method(J)  # type: ignore[operator]
    direction = direction * scale * (1 if at == "parameters" else torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(w.grad.float(), direction, rtol=2e-3, atol=2.0**-20)  # type: ignore[union-attr]


@pytest.mark.parametrize("method", [Sum(), GH(), NashMTL(), GradDrop(), Every(2, NashMTL())], ids=lambda m: m.name)
def test_an_overflow_of_the_scale_is_skipped(method: mtlgrad.Method) -> None:
    net, x = Net().float(), batch().float()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    balancer = Balancer(method, net.trunk.parameters())
    start = flat([p.detach().clone() for p in net.parameters()])
    step = balancer.backward(net.losses(x), scale=scaler)
    assert not bool(step.finite)
    assert step.losses.isfinite().all()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(flat([p.detach() for p in net.parameters()]), start)
    assert scaler.get_scale() == 2.0**126


def test_refusals() -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.trunk.parameters())
    cases: list[tuple[type[Exception], str, object]] = [
        (ValueError, "scale.*> 0.*0", 0.0),
        (ValueError, "scale.*-2", -2.0),
        (ValueError, "scale.*inf", math.inf),
        (TypeError, "scale.*GradScaler.*tensor", torch.tensor(2.0)),
    ]
    for error, words, scale in cases:
        with pytest.raises(error, match=words):
            balancer.backward(net.losses(x), scale=scale)  # type: ignore[arg-type]
        assert net.trunk[0].weight.grad is None
    scaler = torch.amp.GradScaler("cpu")
    pairs: list[tuple[Scale | None, Scale | None]] = [(None, 2.0), (2.0, 4.0), (scaler, None)]
    for first, second in pairs:
        balancer.accumulate(net.losses(x), scale=first)
        with pytest.raises(ValueError, match="scale must be the same"):
            balancer.backward(net.losses(x), scale=second)
