"""The order in which a parameter, a representation or a gradient lies in memory changes no update.

Every way there is, and every method, on models whose parameters are channels-last, transposed or with gaps, against one
pass a task on the same model with row-major parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mtlgrad
from mtlgrad import Balancer, Method
from mtlgrad.catalog import CATALOG
from mtlgrad.engines import ENGINES, Engine
from mtlgrad.engines.per_task import PerTask
from tests.engines.comparing import balancer, kernels_for_nothing, worth_it_for_small_layers
from tests.engines.models import MODELS, Awkward, heads
from tests.layouts import LAYOUTS, relaid

METHODS = {f"{name}{k}": method for name, entry in CATALOG.items() for k, method in enumerate(entry.methods)}
AT_FEATURES = [
    name
    for name, method in METHODS.items()
    if method.traits.min_tasks <= 2 and not (isinstance(method, mtlgrad.JacobianAggregator) and method.traits.stateful)
]
SHAPED = ["convolutions", "volumes", "words", "modern", "transformer", "functional weight", "tied and called twice"]
"""Models with parameters of one to five dimensions, whose gradients are formed in every way."""


def disjoint(model: Awkward, own: nn.ModuleList) -> dict[str, Tensor]:
    """Losses of parts of the batch, which may share one pass."""
    z = model.forward()
    return {"a": (own[0](z[1:]) - 1).square().mean(), "b": 3 * (own[1](z[:1]) + 1).square().mean()}


def together(model: Awkward, own: nn.ModuleList) -> dict[str, Tensor]:
    return model.losses(len(own), own)


def update(
    engine: type[Engine] | None,
    method: Method,
    name: str,
    layouts: list[str | None],
    losses: Any = together,
    **arguments: Any,
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """The gradients after one step in each of the layouts (None: row-major), and those of plain autograd; the last
    step's."""
    model, own = MODELS[name](torch.float64), heads(2, torch.float64)
    made = Balancer(method, model.trunk, seed=3, **arguments)
    if engine is not None:
        made._engines = [engine()]
    for layout in layouts:
        if layout is not None:
            relaid(model.trunk, layout)
        else:
            for p in model.trunk.parameters():
                p.data = p.data.contiguous()
        model.trunk.zero_grad()
        own.zero_grad()
        made.backward(losses(model, own))
    everything = [*model.trunk.parameters(), *own.parameters()]
    got = [None if p.grad is None else p.grad.clone() for p in everything]
    for p in everything:
        p.grad = None
    sum(losses(model, own).values()).backward()
    return got, [p.grad for p in everything]


@contextmanager
def serves_or_not() -> Iterator[None]:
    """Around a call that the engine may not be made for."""
    try:
        yield
    except ValueError as refused:
        if "no way to serve this call" not in str(refused):
            raise


def assert_same(got: list[Tensor | None], wanted: list[Tensor | None], plain: list[Tensor | None], why: str) -> None:
    size = max(float(w.abs().max()) for w in wanted if w is not None)
    for g, w, own in zip(got, wanted, plain, strict=True):
        assert (g is None) == (w is None)
        if g is not None:
            assert own is not None
            assert g.stride() == own.stride(), f"{why}: {list(g.shape)}"
            torch.testing.assert_close(g, w, rtol=1e-8, atol=1e-8 * size, msg=lambda text: f"{why}: {text}")


@pytest.mark.parametrize("kernels", [False, True], ids=["by price", "kernels"])
@pytest.mark.parametrize("losses", [together, disjoint], ids=lambda one: one.__name__)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SHAPED)
def test_every_engine(name: str, layout: str, losses: Any, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    worth_it_for_small_layers(monkeypatch)
    if kernels:
        kernels_for_nothing(monkeypatch)
    served = set()
    for method in (mtlgrad.CAGrad(), mtlgrad.MConFIG(), mtlgrad.GradDrop()):
        wanted, _ = update(PerTask, method, name, [None], losses)
        for engine in ENGINES:
            with serves_or_not():
                got, plain = update(engine, method, name, [layout], losses)
                served.add(engine.name)
                assert_same(got, wanted, plain, f"{engine.name}, {method.name}")
    assert {"one pass a task", "parameters in blocks"} <= served
    assert "layer by layer" in served or losses is together


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "name", [name for name, one in METHODS.items() if one.traits.min_tasks <= 2 and not one.traits.needs_features]
)
def test_every_method_and_its_state(name: str, layout: str) -> None:
    """One step in one order of memory, and the next in another: neither J nor what is remembered is scrambled."""
    method = METHODS[name]
    for groups in (None, "tensor"):
        if groups is not None and isinstance(method, mtlgrad.Scalarizer):
            continue
        wanted, _ = update(None, method, "convolutions", [None, None], groups=groups)
        for layouts in ([layout, layout], [None, layout], [layout, None]):
            got, plain = update(None, method, "convolutions", layouts, groups=groups)
            assert_same(got, wanted, plain, f"{layouts}")


@pytest.mark.parametrize("layout", ["channels last", "transposed"])
@pytest.mark.parametrize("name", AT_FEATURES)
def test_every_method_at_a_representation(name: str, layout: str) -> None:
    """z of another order of memory than row-major, as a trunk that is channels-last or batch-second gives it."""
    found = []
    for order in (lambda z: z, LAYOUTS[layout]):
        torch.manual_seed(0)
        trunk, own = nn.Conv2d(2, 3, 2).double(), nn.ModuleList(nn.Conv2d(3, 2, 1) for _ in range(2)).double()
        z = order(trunk(torch.randn(4, 2, 4, 4, dtype=torch.float64)))
        losses = {str(k): (head(z) + k).pow(2 + k).mean().square() for k, head in enumerate(own)}
        Balancer(METHODS[name], trunk, seed=3).backward(losses, features=z)
        found.append([p.grad for p in (*trunk.parameters(), *own.parameters())])
    assert_same(found[1], found[0], found[0], layout)


@pytest.mark.parametrize("m", [2, 3])
def test_a_parameter_that_is_one_value_seen_many_times(m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expanded storage cannot be stepped in place, but it has gradients."""
    worth_it_for_small_layers(monkeypatch)
    for kernels in (False, True):
        if kernels:
            kernels_for_nothing(monkeypatch)
        for method in (mtlgrad.MGDA(), mtlgrad.MoCo()):
            wanted = None
            for engine, expanded in [(PerTask, False), *[(engine, True) for engine in ENGINES]]:
                model, own = MODELS["plain"](torch.float64), heads(m, torch.float64)
                weight = model.trunk[0].weight
                weight.data = weight.data[:1].expand_as(weight)
                if not expanded:
                    weight.data = weight.data.contiguous()
                with serves_or_not():
                    balancer(engine, method, model.trunk).backward(model.losses(m, own))
                    got = [p.grad for p in (*model.trunk.parameters(), *own.parameters())]
                    wanted = wanted or got
                    assert_same(got, wanted, wanted, engine.name)
