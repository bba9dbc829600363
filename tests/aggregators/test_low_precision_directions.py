"""What leaves is as right as its dtype: directions returned in float32, float16 and bfloat16 hurt no task either."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import mtlgrad
from mtlgrad import Balancer, GramAggregator, catalog
from mtlgrad.linalg import gram
from mtlgrad.solvers.scaling import RESOLUTION
from mtlgrad.testing import jacobians

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SAFE = [
    method
    for entry in catalog.CATALOG.values()
    for method in entry.methods
    if isinstance(method, GramAggregator) and method.traits.non_conflicting
]


def nearly_stationary(m: int, n: int, noise: float, seed: int) -> Tensor:
    """Gradients that a positive combination almost cancels: float32 weights of 1e7 are ordinary for them."""
    generator = torch.Generator().manual_seed(seed)
    rank = max(1, m // 2)
    low = torch.randn(m, rank, dtype=torch.float64, generator=generator)
    low = low - low.mean(0)
    J = low @ torch.randn(rank, n, dtype=torch.float64, generator=generator)
    return J + noise * torch.randn(m, n, dtype=torch.float64, generator=generator)


@cache
def hard() -> list[tuple[str, Tensor]]:
    named = [(f"{family}, m={m}", J) for m in (2, 3, 8) for family, J in jacobians(m).items()]
    for m, n in ((2, 50), (5, 100), (20, 100), (20, 5000)):
        for noise in (1e-2, 1e-4, 1e-6):
            stationary = ((seed, nearly_stationary(m, n, noise, seed)) for seed in range(3))
            named.extend((f"stationary {m}x{n}, {noise:g}, {seed}", J) for seed, J in stationary)
    return named


def asked(method: GramAggregator, dtype: torch.dtype) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, J in `dtype`, and w, where the definition has an answer that rounding leaves a direction to."""
    high = method.traits.max_tasks
    for name, wide in hard():
        J = wide.to(dtype)
        if not (method.traits.min_tasks <= len(J) <= (high or len(J))) or not J.isfinite().all():
            continue
        exact = J.double()
        weights = method.weights(gram(J), losses=torch.linspace(0.5, 2, len(J)).double())
        reach = weights.abs() @ exact.norm(dim=1)
        if not (weights @ exact).norm() <= 4 * RESOLUTION * reach:
            yield name, J, weights


def cosines(J: Tensor, d: Tensor) -> Tensor:
    J, d = J.double(), d.double()
    J = J[J.norm(dim=1) > 0]
    return (J / J.norm(dim=1, keepdim=True)) @ (d / d.norm())


def rounding(exact: Tensor, dtype: torch.dtype) -> float:
    """How far rounding to `dtype` may turn a direction, its underflow to subnormal numbers included."""
    limits = torch.finfo(dtype)
    return 4 * limits.eps + float(limits.tiny * limits.eps * len(exact) ** 0.5 / exact.double().norm())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("method", SAFE, ids=lambda m: m.name)
def test_the_returned_direction_hurts_no_task(method: GramAggregator, dtype: torch.dtype) -> None:
    served = 0
    for name, J, weights in asked(method, dtype):
        exact = weights @ J.double()
        if exact.abs().max() > torch.finfo(dtype).max or rounding(exact, dtype) > 0.1:
            continue  # beyond what the dtype holds: no rounding of it is a direction
        d = method(J, losses=torch.linspace(0.5, 2, len(J)).double())
        assert d.dtype == dtype
        assert float((d.double() - exact).norm() / exact.norm()) <= rounding(exact, dtype) + 1e-8, name
        assert float(cosines(J, d).min()) >= -rounding(exact, dtype) - 1e-8, name
        served += 1
    assert served > 20 or method.traits.max_tasks is not None


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64], ids=str)
@pytest.mark.parametrize("method", [mtlgrad.UPGrad(), mtlgrad.GH(), mtlgrad.DualProj()], ids=lambda m: m.name)
def test_the_balancer_gives_parameters_a_direction_that_hurts_no_task(
    method: GramAggregator, dtype: torch.dtype
) -> None:
    for seed in range(3):
        J = nearly_stationary(20, 5000, 1e-4, seed).to(dtype).to(torch.float64)
        here, there = nn.Parameter(torch.zeros(3000, dtype=dtype)), nn.Parameter(torch.zeros(2000, dtype=torch.float32))
        Balancer(method, shared=[here, there]).backward(
            {
                str(k): (row[:3000].to(dtype) * here).sum() + (row[3000:].float() * there).sum()
                for k, row in enumerate(J)
            }
        )
        assert here.grad is not None
        assert there.grad is not None
        assert here.grad.dtype == dtype
        slack = 4 * max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
        assert float(cosines(J, torch.cat([here.grad.double(), there.grad.double()])).min()) >= -slack


def test_ordinary_weights_take_the_float32_product(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    inside = mtlgrad.linalg._combined
    monkeypatch.setattr(mtlgrad.linalg, "_combined", lambda w, J, dtype: taken.append(dtype) or inside(w, J, dtype))
    J = torch.randn(3, 20_000, generator=torch.Generator().manual_seed(0))
    ones = torch.ones(3, dtype=torch.float64)
    mtlgrad.linalg.combine(ones, J, gram(J))
    mtlgrad.linalg.combine(ones * torch.tensor([1.0, 0.0, 1.0]), J, gram(J))
    assert taken == [torch.float32] * 2
    J[1] = -J[0] - J[2] + 1e-3 * J[1]
    mtlgrad.linalg.combine(ones, J, gram(J))
    mtlgrad.linalg.combine(1e35 * ones, J, gram(J))
    mtlgrad.linalg.combine(ones, J)
    assert taken[2:] == [torch.float64] * 3
