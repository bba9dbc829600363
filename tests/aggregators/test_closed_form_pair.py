"""Two tasks: what decides on an accelerator agrees with what decides on the CPU."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mtlgrad import catalog
from mtlgrad.aggregators import GramAggregator
from mtlgrad.aggregators.host import Array, on_host
from mtlgrad.testing import jacobians

METHODS = [
    method
    for entry in catalog.CATALOG.values()
    for method in entry.methods
    if isinstance(method, GramAggregator) and method.traits.closed_form_pair
]
FAMILIES = ["plain", "agreeing", "imbalanced", "zero row", "opposite rows", "duplicate rows", "tiny", "huge"]


def on_device(
    solve: Callable[[Array], Array], gram: Tensor, *, pair: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """`on_host` as it would choose if this G lived on an accelerator."""
    return on_host(solve, gram) if pair is None or len(gram) != 2 else pair(gram)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize("family", FAMILIES)
def test_both_places_give_one_answer(method: GramAggregator, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = [jacobians(2, seed=seed)[family] for seed in range(5)]
    losses = torch.tensor([1.0, 2.0], dtype=torch.float64)
    here = [method(J, losses=losses) for J in draws]
    edges = [bool(method.fell_back(J @ J.T)) for J in draws]
    for name, module in list(sys.modules.items()):
        if name.startswith("mtlgrad.aggregators.") and getattr(module, "on_host", None) is on_host:
            monkeypatch.setattr(module, "on_host", on_device)
    for J, wanted, edge in zip(draws, here, edges, strict=True):
        rounding = 1e-15 * float(method.weights(J @ J.T, losses=losses).abs() @ J.norm(dim=1))
        got = method(J, losses=losses)
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-9 * float(wanted.norm()) + rounding)
        assert bool(method.fell_back(J @ J.T)) == edge
