import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlgrad import reference
from mtlgrad.solvers import bargaining_residual, bargaining_weights
from tests.solvers.hard import apart, lengths, stress, violation


@pytest.mark.parametrize("m", [2, 3, 5, 8, 16])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_equals_the_welfare_problem(m: int, alpha: float) -> None:
    jacobians = reference.families(m, 2 * m + 3, np.random.default_rng(m))
    for name in ("random", "imbalanced", "zero_row"):
        jacobian = jacobians[name]
        weights, solved = bargaining_weights(jacobian @ jacobian.T, alpha)
        assert solved, name
        assert apart(weights @ jacobian, reference.bargaining_direction(jacobian, alpha)) < 1e-11, name


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
def test_certificate_and_no_conflict_on_hard_jacobians(alpha: float) -> None:
    solutions = 0
    for jacobian in stress(150, seed=4):
        gram = jacobian @ jacobian.T
        weights, solved = bargaining_weights(gram, alpha)
        solutions += solved
        if solved:
            assert bargaining_residual(gram, weights, alpha) < 1e-9
            assert violation(jacobian, weights) < 1e-9
        else:
            assert not weights.any()
    assert solutions > 50


def test_unsolved_means_pareto_stationary() -> None:
    for jacobian in stress(100, seed=5, m_max=8):
        gram = jacobian @ jacobian.T
        if not bargaining_weights(gram)[1]:
            units = jacobian / np.where(lengths(jacobian) > 0, lengths(jacobian), 1)[:, None]
            units = units[lengths(jacobian) > 0]
            assert np.linalg.norm(reference.min_norm_point(units)) < 1e-5


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_whether_there_is_a_solution_does_not_depend_on_fairness(alpha: float) -> None:
    rng = np.random.default_rng(7)
    opposite = rng.standard_normal((50, 8, 24))
    opposite[:, -1] = -opposite[:, 0]
    for jacobian in [*opposite, *stress(150, seed=8, m_max=12)]:
        jacobian = jacobian / np.abs(jacobian).max()
        gram = jacobian @ jacobian.T
        assert bargaining_weights(gram, alpha)[1] == bargaining_weights(gram)[1]


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_orthogonal_gradients_have_the_solution_of_one_variable(alpha: float) -> None:
    norms = np.array([1e-6, 1.0, 2e5])
    weights, solved = bargaining_weights(np.diag(norms**2), alpha)
    assert solved
    np.testing.assert_allclose(weights, norms ** (-2 * alpha / (1 + alpha)), rtol=1e-12)


def test_no_solution_and_zero_gradients() -> None:
    jacobian = np.array([[1.0, 0.0], [-0.5, 1.0], [-0.5, -1.0]])
    weights, solved = bargaining_weights(jacobian @ jacobian.T)
    assert not solved
    assert weights.tolist() == [0.0, 0.0, 0.0]
    weights, solved = bargaining_weights(np.diag([4.0, 0.0]))
    assert solved
    np.testing.assert_allclose(weights, [0.5, 0.0])
    assert not bargaining_weights(np.zeros((2, 2)))[1]


def test_residual_sees_wrong_weights() -> None:
    gram = np.diag([1.0, 4.0])
    assert bargaining_residual(gram, np.array([1.0, 0.6])) > 0.1
    assert bargaining_residual(gram, np.array([1.0, 0.0])) == np.inf


@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.integers(-18, 18), st.floats(0.3, 4.0))
@settings(max_examples=60, deadline=None)
def test_scale_and_permutation(seed: int, m: int, exponent: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    jacobian = rng.standard_normal((m, m + 3)) * 10.0 ** rng.uniform(-1, 1, (m, 1))
    gram = jacobian @ jacobian.T
    weights = bargaining_weights(gram, alpha)[0]
    # G -> s^2 G solves with w -> s^(-2 alpha / (1 + alpha)) w.
    shrink = 100.0 ** (-exponent * alpha / (1 + alpha))
    np.testing.assert_allclose(bargaining_weights(gram * 100.0**exponent, alpha)[0], weights * shrink, rtol=1e-7)
    order = rng.permutation(m)
    np.testing.assert_allclose(bargaining_weights(gram[np.ix_(order, order)], alpha)[0], weights[order], rtol=1e-7)
