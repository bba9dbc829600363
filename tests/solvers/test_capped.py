"""The capped min-norm point: the printed problem, all faces, the optimality conditions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlgrad import CappedMGDA
from mtlgrad.reference import capped_min_norm_point
from mtlgrad.solvers import capped
from mtlgrad.solvers.capped import capped_min_norm_weights, capped_residual
from mtlgrad.solvers.simplex import min_norm_weights
from tests.solvers.hard import Array, apart, stress


@pytest.mark.parametrize("m", [2, 3, 6, 12])
@pytest.mark.parametrize("alpha", [0.3, 0.6, 0.9])
def test_equals_the_printed_problem(m: int, alpha: float) -> None:
    rng = np.random.default_rng(m)
    for _ in range(3):
        jacobian = rng.standard_normal((m, m + 4)) * np.exp(rng.standard_normal((m, 1)))
        cap = 1 / (alpha * m)
        got = capped_min_norm_weights(jacobian @ jacobian.T, cap) @ jacobian
        assert apart(got, capped_min_norm_point(jacobian, min(cap, 1.0))) <= 1e-5


def _by_enumeration(gram: Array, cap: float) -> float:
    """The least squared length over every choice of weights at 0, at the cap and in between."""
    m, best = len(gram), np.inf
    for sides in itertools.product((-1, 0, 1), repeat=m):
        side = np.array(sides)
        weights = np.where(side == 1, cap, 0.0)
        free = np.flatnonzero(side == 0)
        if free.size:
            k = len(free)
            system = np.zeros((k + 1, k + 1))
            system[:k, :k], system[:k, k], system[k, :k] = gram[np.ix_(free, free)], 1.0, 1.0
            target = np.append(-(gram @ weights)[free], 1.0 - weights.sum())
            weights[free] = np.linalg.lstsq(system, target, rcond=None)[0][:k]
        if abs(weights.sum() - 1.0) <= 1e-9 and weights.min() >= -1e-12 and weights.max() <= cap + 1e-12:
            best = min(best, float(weights @ gram @ weights))
    return best


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_best_of_all_faces(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = int(rng.integers(2, 6))
    jacobian = rng.standard_normal((m, int(rng.integers(1, 7)))) * np.exp(rng.standard_normal((m, 1)))
    gram, cap = jacobian @ jacobian.T, float(rng.uniform(1 / m, 1.0))
    weights = capped_min_norm_weights(gram, cap)
    scale = float((weights @ np.sqrt(gram.diagonal())) ** 2)
    assert weights @ gram @ weights == pytest.approx(_by_enumeration(gram, cap), abs=1e-9 * scale)


def test_certificate_on_hard_jacobians() -> None:
    rng = np.random.default_rng(1)
    for k, jacobian in enumerate(stress(400, seed=3)):
        gram = jacobian @ jacobian.T
        cap = float(rng.uniform(1.0, len(gram))) / len(gram)
        assert capped_residual(gram, cap, capped_min_norm_weights(gram, cap)) <= 1e-11, f"case {k}"


FAMILIES = (
    "independent",
    "duplicates",
    "two directions",
    "nearly two",
    "opposite",
    "one line",
    "integers",
    "zero rows",
)


def dependent(family: str, m: int, n: int, spread: float, rng: np.random.Generator) -> Array:
    """J [m, n] with dependent rows, the norms spread over a factor 10^spread."""
    jacobian = rng.standard_normal((m, n))
    match family:
        case "duplicates":
            jacobian = jacobian[rng.integers(0, max(2, m // 2), m)]
        case "two directions":
            jacobian = jacobian[rng.integers(0, 2, m)]
        case "nearly two":
            jacobian = jacobian[rng.integers(0, 2, m)] + 10.0 ** rng.uniform(-10, -4) * jacobian
        case "opposite":
            jacobian[m // 2 : m // 2 * 2] = -jacobian[: m // 2]
        case "one line":
            jacobian = np.outer(jacobian[:, 0], rng.standard_normal(n))
        case "integers":
            return rng.integers(-3, 4, (m, n)).astype(float)
        case "zero rows":
            jacobian[rng.random(m) < 0.3] = 0.0
    return np.asarray(jacobian * 10.0 ** rng.uniform(-spread / 2, spread / 2, (m, 1)))


def caps(m: int, rng: np.random.Generator) -> list[float]:
    """Ordinary caps, those at which corners of the set are degenerate, and both ends."""
    some = [rng.uniform(1 / m, 1.0), 0.5, 2 / m, 1.5 / m, 1 / (m - 1), (1 + 1e-6) / m, 1 - 1e-6, 1 / m, 1.0]
    return [float(cap) for cap in some if 1 / m <= cap <= 1.0]


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(FAMILIES),
    st.sampled_from([2, 3, 4, 5, 6, 10, 30, 60]),
    st.sampled_from([1, 2, 8, 50]),
    st.sampled_from([0.0, 1.0, 3.0, 6.0]),
)
@settings(max_examples=100, deadline=None)
def test_dependent_gradients_are_solved_to_rounding(seed: int, family: str, m: int, n: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    jacobian = dependent(family, m, n, spread, rng)
    gram = jacobian @ jacobian.T
    for cap in caps(m, rng):
        assert capped_residual(gram, cap, capped_min_norm_weights(gram, cap)) <= 1e-12, cap


@given(st.integers(0, 2**32 - 1), st.sampled_from(FAMILIES), st.integers(2, 5), st.sampled_from([0.0, 1.0, 3.0]))
@settings(max_examples=25, deadline=None)
def test_dependent_gradients_equal_the_best_of_all_faces(seed: int, family: str, m: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    jacobian = dependent(family, m, 2, spread, rng)
    gram, cap = jacobian @ jacobian.T, float(rng.choice([0.5, min(2 / m, 1.0), rng.uniform(1 / m, 1.0)]))
    weights = capped_min_norm_weights(gram, cap)
    scale = float((weights @ np.sqrt(gram.diagonal())) ** 2)
    assert weights @ gram @ weights <= _by_enumeration(gram, cap) + 1e-12 * scale


@pytest.mark.parametrize(
    "rows",
    [
        [[0.0, -1.0], [-2.0, -2.0], [2.0, 1.0], [-3.0, -3.0]],
        [
            [-0.029954154819106685, 0.0054586327442633165],
            [41.04681899287499, 44.796473856589074],
            [-0.14439759893253964, 0.026313994385292732],
            [1.1774685961872744, 1.2850311541855102],
        ],
    ],
)
def test_corners_where_the_caps_leave_nothing_to_share(rows: list[list[float]]) -> None:
    jacobian = np.array(rows)
    got = capped_min_norm_weights(jacobian @ jacobian.T, 0.5) @ jacobian
    assert apart(got, capped_min_norm_point(jacobian, 0.5)) <= 1e-5


def test_a_search_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gram = torch.diag(torch.tensor([1.0, 1.0, 10.0, 20.0], dtype=torch.float64))
    assert not bool(CappedMGDA().fell_back(gram))
    monkeypatch.setattr(capped, "_ROUNDS", 0)
    assert bool(CappedMGDA().fell_back(gram))
    weights = CappedMGDA().weights(gram)
    assert weights.min() >= 0.0
    assert float(weights.sum()) == pytest.approx(1.0)


def test_its_ends_are_the_mean_and_the_min_norm_point() -> None:
    jacobian = np.random.default_rng(0).standard_normal((5, 7))
    gram = jacobian @ jacobian.T
    assert capped_min_norm_weights(gram, 0.2).tolist() == [0.2] * 5
    assert capped_min_norm_weights(gram, 1.0).tolist() == min_norm_weights(gram).tolist()
    with pytest.raises(ValueError, match="cap must be at least"):
        capped_min_norm_weights(gram, 0.1)


def test_zero_gradients_take_what_they_may() -> None:
    gram = np.diag([0.0, 1.0, 1.0])
    assert capped_min_norm_weights(gram, 0.5).tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert capped_min_norm_weights(np.zeros((3, 3)), 0.5).tolist() == pytest.approx([1 / 3] * 3)


def test_residual_sees_each_broken_condition() -> None:
    gram = np.diag([1.0, 1.0, 100.0])
    for wrong in ([0.4, 0.4, 0.2], [0.5, 0.4, 0.1], [0.45, 0.45, 0.2], [0.6, 0.5, -0.1]):
        assert capped_residual(gram, 0.45, np.array(wrong)) > 1e-3
