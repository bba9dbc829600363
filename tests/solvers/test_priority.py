"""The nearest direction with promised shares: the printed problem, closed forms, optimality, infeasibility."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

from mtlgrad.reference import priority_direction
from mtlgrad.solvers.priority import priority_residual, priority_weights
from tests.solvers.hard import apart, stress


@pytest.mark.parametrize("m", [2, 3, 6, 12])
def test_equals_the_printed_problem(m: int) -> None:
    rng = np.random.default_rng(m)
    for main in (0, m - 1):
        jacobian = rng.standard_normal((m, m + 4)) * np.exp(rng.standard_normal((m, 1)))
        share = rng.uniform(0, 0.6, m)
        weights, met = priority_weights(jacobian @ jacobian.T, main, share)
        assert met
        assert apart(weights @ jacobian, priority_direction(jacobian, main, share)) <= 1e-6


@pytest.mark.parametrize("cosine", [-0.999, -0.5, 0.0, 0.3, 0.9])
def test_two_tasks_in_closed_form(cosine: float) -> None:
    """mu = max(0, tau - g1 . g2 / |g2|^2)."""
    for first, second, tau in ((1.0, 1.0, 0.1), (2.0, 0.5, 0.5), (1e-3, 1e3, 1.0)):
        inner = cosine * first * second
        gram = np.array([[first**2, inner], [inner, second**2]])
        weights, met = priority_weights(gram, 0, np.array([9.0, tau]))
        assert met
        assert weights.tolist() == pytest.approx([1.0, max(0.0, tau - inner / second**2)], rel=1e-12)


def test_certificate_on_hard_jacobians() -> None:
    rng = np.random.default_rng(1)
    solved = 0
    for k, jacobian in enumerate(stress(1500, seed=4)):
        gram = jacobian @ jacobian.T
        main, share = int(rng.integers(len(gram))), rng.uniform(0, 1, len(gram)) * (k % 3 > 0)
        weights, met = priority_weights(gram, main, share)
        if met:
            solved += 1
            assert priority_residual(gram, main, share, weights) <= 1e-12, f"case {k}"
        else:
            assert weights.tolist() == np.eye(len(gram))[main].tolist()
    assert solved > 700


def test_what_it_calls_infeasible_a_linear_programme_does_too() -> None:
    rng = np.random.default_rng(2)
    seen = {True: 0, False: 0}
    for _ in range(200):
        m, n = int(rng.integers(3, 9)), int(rng.integers(1, 6))
        jacobian = rng.standard_normal((m, n))
        share = rng.uniform(0.05, 1, m)
        _, met = priority_weights(jacobian @ jacobian.T, 0, share)
        bound = -(share * (jacobian**2).sum(1))[1:]
        program = scipy.optimize.linprog(np.zeros(n), A_ub=-jacobian[1:], b_ub=bound, bounds=(None, None))
        assert met == (program.status == 0)
        seen[met] += 1
    assert min(seen.values()) > 20


def test_opposite_gradients_and_zero_ones() -> None:
    gram = np.array([[1.0, 0.5, -0.5], [0.5, 1.0, -1.0], [-0.5, -1.0, 1.0]])
    assert not priority_weights(gram, 0, np.full(3, 0.1))[1]
    weights, met = priority_weights(gram, 0, np.zeros(3))
    assert met
    assert weights @ gram @ weights == pytest.approx(0.75)  # what is left of g_1 beside the line of the other two
    assert priority_weights(np.diag([1.0, 0.0]), 0, np.ones(2))[0].tolist() == [1.0, 0.0]
