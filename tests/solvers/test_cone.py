from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlgrad import reference
from mtlgrad.solvers import cone_residual, harmonized_parts, harmonized_sum, project_onto_dual_cone
from mtlgrad.solvers.cone import _exchange
from mtlgrad.solvers.nnls import nonnegative_least_squares
from mtlgrad.solvers.scaling import factor, unit_diagonal
from tests.solvers.hard import NEARLY, Array, apart, lengths, nearly_stationary, stress, violation

WELL_CONDITIONED = ("random", "imbalanced", "near_parallel", "zero_row")


@pytest.mark.parametrize("m", [2, 3, 5, 8, 16])
def test_equals_the_printed_problem(m: int) -> None:
    jacobians = reference.families(m, 2 * m + 3, np.random.default_rng(m))
    for name in WELL_CONDITIONED:
        jacobian = jacobians[name]
        gram = jacobian @ jacobian.T
        parts = project_onto_dual_cone(gram, np.eye(m))
        assert apart(parts[0] @ jacobian, reference.harmonized_gradient(jacobian, 0)) < 1e-9, name
        mean = project_onto_dual_cone(gram, np.full((1, m), 1 / m))[0]
        assert apart(mean @ jacobian, reference.dualproj(jacobian)) < 1e-9, name
        if m <= 5:
            assert apart(parts.mean(0) @ jacobian, reference.upgrad(jacobian)) < 1e-9, name


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_best_of_all_active_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = int(rng.integers(2, 5))
    jacobian = rng.standard_normal((m, 6)) * 10.0 ** rng.uniform(-3, 3, (m, 1))
    point = rng.standard_normal(m)
    weights = project_onto_dual_cone(jacobian @ jacobian.T, point[None])[0]
    target = point @ jacobian
    error = np.linalg.norm(weights @ jacobian - _by_enumeration(jacobian, target))
    assert error < 1e-9 * np.linalg.norm(target)


def _by_enumeration(jacobian: Array, target: Array) -> Array:
    """The nearest feasible point among the projections onto every intersection of bounding hyperplanes."""
    units = jacobian / lengths(jacobian)[:, None]
    best, nearest = np.inf, target
    for size in range(len(units) + 1):
        for chosen in combinations(range(len(units)), size):
            walls = units[list(chosen)]
            candidate = target - np.linalg.pinv(walls) @ (walls @ target) if chosen else target
            distance = float(np.linalg.norm(candidate - target))
            if (units @ candidate).min() > -1e-10 * np.linalg.norm(target) and distance < best:
                best, nearest = distance, candidate
    return nearest


def test_certificate_and_no_conflict_on_hard_jacobians() -> None:
    for jacobian in stress(300, seed=0):
        m = len(jacobian)
        gram = jacobian @ jacobian.T
        for points in (np.eye(m), np.ones((1, m)), np.linspace(-1.0, 2.0, m)[None]):
            weights = project_onto_dual_cone(gram, points)
            assert np.isfinite(weights).all()
            assert cone_residual(gram, points, weights) < 1e-9
            assert violation(jacobian, weights.sum(0)) < 1e-9


def test_the_batch_and_the_row_by_row_solver_agree() -> None:
    rng = np.random.default_rng(3)
    for m in (8, 24, 40):
        jacobian = rng.standard_normal((m, m + 4)) * np.exp(2 * rng.standard_normal((m, 1)))
        cosines, _, _ = unit_diagonal(jacobian @ jacobian.T)
        root, definite = factor(cosines)
        assert definite
        batch, left = _exchange(cosines, 0.5, cosines)
        assert len(left) < 0.1 * m
        solved = np.setdiff1d(np.arange(m), left)
        single = nonnegative_least_squares(root, -root.T)
        np.testing.assert_allclose(batch[solved], single[solved], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("spread", [1.0, 0.1, 1e-3, 1e-6, 0.0])
def test_gradients_well_apart_need_no_precautions(spread: float) -> None:
    """All projections at once, where it dares to skip the checks, against one point at a time; and their sum."""
    rng = np.random.default_rng(5)
    for m in (3, 8, 11, 32, 40):
        jacobian = rng.standard_normal((1, 2 * m)) + spread * rng.standard_normal((m, 2 * m))
        jacobian[::2] *= -1.0
        gram = jacobian @ jacobian.T
        parts = harmonized_parts(gram)
        each = np.vstack([project_onto_dual_cone(gram, point[None]) for point in np.eye(m)])
        lengths_combined = 1.0 + np.abs(parts).sum()
        np.testing.assert_allclose(parts @ jacobian, each @ jacobian, atol=1e-9 * lengths_combined)
        np.testing.assert_allclose(harmonized_sum(gram), parts.sum(0), rtol=1e-12)
        assert cone_residual(gram, np.eye(m), parts) < 1e-9


def test_leaves_a_point_without_conflict_alone() -> None:
    gram = np.array([[1.0, 0.2], [0.2, 4.0]])
    assert (project_onto_dual_cone(gram, np.eye(2)) == np.eye(2)).all()


def test_opposite_gradients_project_to_exact_zero_and_zero_gradients_keep_their_weight() -> None:
    jacobian = np.array([[1.0, 2.0], [-3.0, -6.0], [0.0, 0.0]])
    assert project_onto_dual_cone(jacobian @ jacobian.T, np.eye(3)).tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]


@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.integers(-18, 18))
@settings(max_examples=60, deadline=None)
def test_scale_permutation_and_idempotence(seed: int, m: int, exponent: int) -> None:
    rng = np.random.default_rng(seed)
    jacobian = rng.standard_normal((m, m + 3))
    gram = jacobian @ jacobian.T
    parts = project_onto_dual_cone(gram, np.eye(m))
    np.testing.assert_allclose(project_onto_dual_cone(gram * 100.0**exponent, np.eye(m)), parts, rtol=1e-9, atol=1e-9)
    order = rng.permutation(m)
    shuffled = project_onto_dual_cone(gram[np.ix_(order, order)], np.eye(m))
    np.testing.assert_allclose(shuffled, parts[np.ix_(order, order)], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(project_onto_dual_cone(gram, parts) @ jacobian, parts @ jacobian, rtol=1e-9, atol=1e-9)


def test_residual_sees_each_broken_condition() -> None:
    gram = np.array([[1.0, -0.5], [-0.5, 1.0]])
    start = np.array([[1.0, 0.0]])
    assert cone_residual(gram, start, start) > 0.1  # infeasible
    assert cone_residual(gram, start, np.array([[1.0, 2.0]])) > 0.1  # feasible, not nearest
    assert cone_residual(gram, start, np.array([[0.5, 0.5]])) > 0.1  # v < 0
    assert cone_residual(gram, start, np.zeros((1, 2))) > 0.1  # feasible, but 0 is not the projection


@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e18])
@pytest.mark.parametrize("angle", [0.0, 1.0, np.pi / 2, 2.0, 3.0, np.pi - 1e-6, np.pi])
def test_two_tasks_in_closed_form(angle: float, scale: float) -> None:
    for ratio in (1e-6, 1.0, 1e6):
        jacobian = scale * np.array([[1.0, 0.0], [ratio * np.cos(angle), ratio * np.sin(angle)]])
        gram = jacobian @ jacobian.T
        parts = harmonized_parts(gram)
        np.testing.assert_allclose(parts, project_onto_dual_cone(gram, np.eye(2)), rtol=1e-9, atol=1e-9)
        assert cone_residual(gram, np.eye(2), parts) < 1e-9


def test_two_tasks_one_of_them_zero() -> None:
    assert harmonized_parts(np.diag([0.0, 4.0])).tolist() == [[1.0, 0.0], [0.0, 1.0]]


@given(st.integers(0, 2**32 - 1), st.sampled_from(NEARLY), st.sampled_from([2, 3, 4, 6, 10]), st.floats(-7.5, -5.0))
@settings(max_examples=200, deadline=None)
def test_projections_next_to_stationary_points_do_not_conflict(seed: int, family: str, m: int, off: float) -> None:
    rng = np.random.default_rng(seed)
    for n in (2, m, 50):
        jacobian = nearly_stationary(family, m, n, 10.0**off, rng)
        gram = jacobian @ jacobian.T
        for weights in (*harmonized_parts(gram), *project_onto_dual_cone(gram, np.full((1, m), 1 / m))):
            assert violation(jacobian, weights) <= 1e-8
