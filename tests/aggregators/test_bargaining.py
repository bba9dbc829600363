"""Nash-MTL and FairGrad: their equation holds where it has a solution, and the answer is defined where not."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from mtlgrad import FairGrad, NashMTL
from mtlgrad.testing import jacobians

METHODS = [NashMTL(), FairGrad(alpha=0.1), FairGrad(alpha=0.5), FairGrad(), FairGrad(alpha=10.0)]


def alpha_of(method: NashMTL | FairGrad) -> float:
    return 1.0 if isinstance(method, NashMTL) else method.alpha


def gap(G: Tensor, w: Tensor, alpha: float) -> float:
    """max_k |(G w)_k - w_k^(-1/alpha)|, relative to what is summed in it: (G w)_k itself may cancel to 1e-7."""
    wanted = w ** (-1 / alpha)
    return float(((G @ w - wanted).abs() / (G.abs() @ w + wanted)).max())


@given(st.integers(0, 10**6), st.integers(1, 16), st.floats(0, 2))
@settings(deadline=None, max_examples=60)
def test_the_equation_holds(seed: int, m: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    J = torch.randn(m, 2 * m, dtype=torch.float64, generator=generator)
    J = J * (spread * torch.randn(m, 1, dtype=torch.float64, generator=generator)).exp()
    G = J @ J.T
    for method in METHODS:
        w = method.weights(G)
        assert bool((w > 0).all())
        assert gap(G, w, alpha_of(method)) <= 1e-12, method.name
        assert not bool(method.fell_back(G))


@pytest.mark.parametrize("norm", [1e-15, 1e-4, 1e9])
def test_the_equation_holds_at_any_scale(norm: float) -> None:
    # Public FairGrad code is wrong from gradients of length 1e-4 downwards.
    J = norm * jacobians(5)["plain"]
    for method in METHODS:
        assert gap(J @ J.T, method.weights(J @ J.T), alpha_of(method)) <= 1e-12, method.name


@pytest.mark.parametrize("family", ["imbalanced", "near parallel"])
def test_the_equation_holds_where_public_solvers_give_up(family: str) -> None:
    for m in (2, 3, 11):
        J = jacobians(m)[family]
        assert gap(J @ J.T, NashMTL().weights(J @ J.T), 1.0) <= 1e-12


def test_nash_maximises_the_product_of_gains() -> None:
    J = jacobians(4, 8)["plain"]
    d = NashMTL()(J)
    best = (J @ d / d.norm()).log().sum()
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        other = d / d.norm() + 0.1 * torch.randn(8, dtype=torch.float64, generator=generator)
        gains = J @ (other / other.norm())
        assert bool((gains <= 0).any()) or float(gains.log().sum()) < float(best)


def test_nash_ignores_the_units_of_each_loss() -> None:
    J = jacobians(5)["plain"]
    scaled = J * torch.logspace(-5, 5, 5, dtype=torch.float64)[:, None]
    torch.testing.assert_close(NashMTL()(scaled), NashMTL()(J), rtol=1e-9, atol=1e-9)


def test_nash_has_length_sqrt_m_until_it_is_cut() -> None:
    J = jacobians(6)["plain"]
    assert float(NashMTL()(J).norm()) == pytest.approx(math.sqrt(6))
    for max_norm in (0.5, 1.0, 2.0, 3.0):
        cut = NashMTL(max_norm=max_norm)(J)
        assert float(cut.norm()) == pytest.approx(min(max_norm, math.sqrt(6)))
        torch.testing.assert_close(cut / cut.norm(), NashMTL()(J) / math.sqrt(6))


def test_fairgrad_with_alpha_one_is_nash() -> None:
    J = jacobians(7)["plain"]
    torch.testing.assert_close(FairGrad(alpha=1.0)(J), NashMTL()(J))


def test_fairgrad_is_fairer_with_larger_alpha() -> None:
    J = jacobians(5)["plain"]
    spread = []
    for alpha in (0.25, 1.0, 4.0):
        gains = J @ FairGrad(alpha=alpha)(J)
        spread.append(float(gains.max() / gains.min()))
    assert spread == sorted(spread, reverse=True)


@given(st.floats(0.1, 10), st.floats(-9, 9))
@settings(deadline=None, max_examples=30)
def test_fairgrad_scales_as_its_docstring_says(alpha: float, log_scale: float) -> None:
    J, s = jacobians(3)["plain"], 10**log_scale
    wanted = s ** ((1 - alpha) / (1 + alpha)) * FairGrad(alpha)(J)
    torch.testing.assert_close(FairGrad(alpha)(s * J), wanted, rtol=1e-8, atol=0)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_pareto_stationary_point_stops(method: NashMTL | FairGrad) -> None:
    for J in (
        torch.tensor([[1.0, 0.0], [-2.0, 0.0]]),
        torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, -2.0]]),
        torch.zeros(3, 2),
    ):
        assert torch.equal(method(J), torch.zeros(2))
        assert bool(method.fell_back(J @ J.T))


def test_a_zero_gradient_takes_no_part() -> None:
    J = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    for method in METHODS:
        assert float(method.weights(J @ J.T)[1]) == 0
        torch.testing.assert_close(method(J), method(J[[0, 2]]))
        assert not bool(method.fell_back(J @ J.T))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: NashMTL(max_norm=0), "max_norm must be None or a number > 0, got 0"),
        (lambda: NashMTL(max_norm=-1.0), "max_norm.*-1"),
        (lambda: FairGrad(alpha=0.0), r"alpha.*\[0.1, 10\].*0"),
        (lambda: FairGrad(alpha=100), r"alpha.*\[0.1, 10\].*100"),
    ],
)
def test_bad_hyperparameters_are_named(build: object, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        build()  # type: ignore[operator]
