from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlgrad import reference
from mtlgrad.solvers import min_norm_residual, min_norm_weights, project_onto_simplex
from tests.solvers.hard import Array, apart, stress


@pytest.mark.parametrize("m", [2, 3, 5, 8, 16])
def test_equals_the_printed_problem(m: int) -> None:
    jacobians = reference.families(m, 2 * m + 3, np.random.default_rng(m))
    for name in ("random", "imbalanced", "near_parallel"):
        jacobian = jacobians[name]
        weights = min_norm_weights(jacobian @ jacobian.T)
        assert apart(weights @ jacobian, reference.min_norm_point(jacobian)) < 1e-9, name


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_best_of_all_faces(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = int(rng.integers(2, 6))
    jacobian = rng.standard_normal((m, 7)) * 10.0 ** rng.uniform(-1, 1, (m, 1))
    weights = min_norm_weights(jacobian @ jacobian.T)
    assert apart(weights @ jacobian, _by_enumeration(jacobian)) < 1e-10


def _by_enumeration(jacobian: Array) -> Array:
    """The shortest among the min-norm points of every face's affine hull that lie inside the face."""
    best = jacobian[np.argmin(np.linalg.norm(jacobian, axis=1))]
    for size in range(2, len(jacobian) + 1):
        for chosen in combinations(range(len(jacobian)), size):
            rows = jacobian[list(chosen)]
            base, edges = rows[0], rows[1:] - rows[0]
            steps = -np.linalg.pinv(edges.T) @ base
            if steps.min() >= 0 and steps.sum() <= 1 and np.linalg.norm(base + steps @ edges) < np.linalg.norm(best):
                best = base + steps @ edges
    return np.asarray(best)


def test_certificate_on_hard_jacobians() -> None:
    for jacobian in stress(300, seed=1):
        gram = jacobian @ jacobian.T
        weights = min_norm_weights(gram)
        assert (weights >= 0).all()
        assert min_norm_residual(gram, weights) < 1e-9


def test_zero_gradients_share_the_weight() -> None:
    assert min_norm_weights(np.diag([1.0, 0.0, 0.0])).tolist() == [0.0, 0.5, 0.5]
    assert min_norm_weights(np.zeros((1, 1))).tolist() == [1.0]
    assert min_norm_weights(np.ones((1, 1))).tolist() == [1.0]


def test_residual_sees_each_broken_condition() -> None:
    gram = np.diag([1.0, 3.0])
    assert min_norm_residual(gram, np.array([0.5, 0.5])) > 0.1
    assert min_norm_residual(gram, np.array([0.8, 0.25])) > 0.04
    assert min_norm_residual(gram, np.array([1.25, -0.25])) > 0.1


@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.integers(-18, 18))
@settings(max_examples=60, deadline=None)
def test_scale_and_permutation(seed: int, m: int, exponent: int) -> None:
    rng = np.random.default_rng(seed)
    jacobian = rng.standard_normal((m, m + 3)) * 10.0 ** rng.uniform(-3, 3, (m, 1))
    gram = jacobian @ jacobian.T
    weights = min_norm_weights(gram)
    np.testing.assert_allclose(min_norm_weights(gram * 100.0**exponent), weights, rtol=1e-9, atol=1e-9)
    order = rng.permutation(m)
    np.testing.assert_allclose(min_norm_weights(gram[np.ix_(order, order)]), weights[order], rtol=1e-9, atol=1e-9)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_simplex_projection_meets_its_variational_inequality(entries: list[float], seed: int) -> None:
    point = np.array(entries)
    nearest = project_onto_simplex(point)
    assert nearest.min() >= 0
    assert abs(nearest.sum() - 1) < 1e-9
    others = np.random.default_rng(seed).dirichlet(np.ones(len(point)), 20)
    corners = np.vstack([others, np.eye(len(point))])
    assert ((corners - nearest) @ (point - nearest)).max() <= 1e-9 * (1 + np.ptp(point))
