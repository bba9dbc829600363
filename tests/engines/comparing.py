"""One engine against one pass a task: what every engine's tests are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mtlgrad
from mtlgrad import Balancer, StepRecord
from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.catalog import CATALOG
from mtlgrad.engines import Engine
from mtlgrad.engines.layerwise import plan as planning
from mtlgrad.engines.layerwise import products
from mtlgrad.engines.per_task import PerTask
from tests.engines.models import Awkward, heads

METHODS = {
    f"{name}{k}": method
    for name, entry in CATALOG.items()
    for k, method in enumerate(entry.methods)
    if isinstance(method, GramAggregator)
}
TASKS = [
    (name, m)
    for name, method in METHODS.items()
    for m in (1, 2, 3, 8)
    if method.traits.min_tasks <= m <= (method.traits.max_tasks or m)
]
"""Every method that needs weights only, with every number of tasks that it is defined for."""


def worth_it_for_small_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layer by layer wherever anything is saved, however little."""
    monkeypatch.setattr(planning, "_WORTH", -1e18)
    monkeypatch.setattr(planning, "_WORTH_ON_ACCELERATOR", -1e18)
    monkeypatch.setattr(planning, "_SHARE", -1e18)


def kernels_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel is never too dear."""
    monkeypatch.setattr(products, "price_of_kernel", lambda *sizes, lookup=False: -1.0)


def balancer(engine: type[Engine], method: mtlgrad.Method, shared: Any, **arguments: Any) -> Balancer:
    made = Balancer(method, shared, **arguments)
    made._engines = [engine()]
    return made


def both(
    engine: type[Engine],
    method: mtlgrad.Method,
    awkward: Awkward,
    m: int,
    *,
    steps: int = 1,
    losses: Callable[[Awkward, nn.ModuleList], dict[str, Tensor]] | None = None,
    backward: dict[str, Any] | None = None,
    **arguments: Any,
) -> tuple[list[Tensor | None], list[Tensor | None], StepRecord, StepRecord]:
    """Every gradient after some steps, in one engine's way and one pass a task, and the last records."""
    found = []
    own = heads(m, next(awkward.trunk.parameters()).dtype)
    for kind in (engine, PerTask):
        everything = [*awkward.trunk.parameters(), *own.parameters()]
        for p in everything:
            p.grad = None
        made = balancer(kind, method, awkward.trunk, **arguments)
        for _ in range(steps):  # gradients add up
            given = awkward.losses(m, own) if losses is None else losses(awkward, own)
            record = made.backward(given, **(backward or {}))
        found.append(([None if p.grad is None else p.grad.clone() for p in everything], record))
    (got, one), (wanted, two) = found
    return got, wanted, one, two


def assert_same(found: tuple[list[Tensor | None], list[Tensor | None], StepRecord, StepRecord], rtol: float) -> None:
    got, wanted, one, two = found
    assert [g is None for g in got] == [g is None for g in wanted]
    size = max([float(w.abs().max()) for w in wanted if w is not None], default=1.0)
    for g, w in zip(got, wanted, strict=True):
        if g is not None:
            assert w is not None
            assert g.stride() == w.stride()
            torch.testing.assert_close(g, w, rtol=rtol, atol=rtol * size)
    for name in ("gram", "weights", "alignment", "direction_norm", "losses"):
        a, b = getattr(one, name), getattr(two, name)
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol * max(1.0, float(b.abs().max())), msg=name)
    assert bool(one.finite) == bool(two.finite)
