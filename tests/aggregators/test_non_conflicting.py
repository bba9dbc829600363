"""Methods that promise never to conflict, on norms that differ by any factor: where regularised solvers fail."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtlgrad import catalog
from mtlgrad.aggregators import GramAggregator
from mtlgrad.solvers.scaling import RESOLUTION

METHODS = [
    method
    for entry in catalog.CATALOG.values()
    for method in entry.methods
    if isinstance(method, GramAggregator) and method.traits.non_conflicting and method.traits.max_tasks is None
]


def ill_scaled(seed: int) -> Tensor:
    """J [m, n] with m to 32, dependent rows in one case of four, and norms spread as lognormal(3)."""
    generator = torch.Generator().manual_seed(seed)
    m = int(torch.randint(2, 33, (), generator=generator))
    n = int(torch.randint(max(2, m // 2), 65, (), generator=generator))
    J = torch.randn(m, n, dtype=torch.float64, generator=generator)
    return J * (3 * torch.randn(m, 1, dtype=torch.float64, generator=generator)).exp()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_no_task_is_hurt(method: GramAggregator) -> None:
    served = 0
    for seed in range(60):
        J = ill_scaled(seed)
        losses = torch.linspace(0.5, 2.0, len(J), dtype=torch.float64)
        norms, weights = J.norm(dim=1), method.weights(J @ J.T, losses=losses)
        d = weights @ J
        if float(d.norm()) <= RESOLUTION * float(weights.abs() @ norms):
            continue  # a Pareto-stationary point: d is 0, or what rounding leaves of it
        served += 1
        assert float((J @ d / (norms * d.norm())).min()) >= -1e-9, f"seed {seed}"
    assert served > 50
