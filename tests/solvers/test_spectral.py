from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlgrad.reference import families
from mtlgrad.solvers import (
    aligned_residual,
    aligned_weights,
    equal_cosine_residual,
    equal_cosine_weights,
    equal_projection_residual,
    equal_projection_weights,
)
from tests.solvers.hard import apart, lengths, stress

FULL_RANK = ("random", "imbalanced", "near_parallel", "near_opposite")
Scale = Literal["min", "median", "rmse"]


@pytest.mark.parametrize("m", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("scale", ["min", "median", "rmse"])
def test_aligned_equals_the_singular_value_decomposition_of_j(m: int, scale: Scale) -> None:
    preference = np.random.default_rng(0).random(m)
    for name, jacobian in families(m, 2 * m + 3, np.random.default_rng(m)).items():
        if name == "zero_row" and m == 1:
            continue
        gram = jacobian @ jacobian.T
        left, values, right = np.linalg.svd(jacobian, full_matrices=False)
        rank = int((values > 1e-8 * values[0]).sum())
        values = values[:rank]
        target = {"min": values[-1], "median": np.sort(values)[(rank - 1) // 2], "rmse": np.sqrt((values**2).mean())}
        wanted = target[scale] * (preference @ left[:, :rank]) @ right[:rank]
        weights = aligned_weights(gram, preference, scale)
        assert apart(weights @ jacobian, wanted) < 1e-6, name
        assert aligned_residual(gram, preference, weights, scale) < 1e-9, name


@pytest.mark.parametrize("m", [2, 3, 8, 16])
def test_equal_cosine_equals_the_pseudo_inverse_of_the_unit_gradients(m: int) -> None:
    for name, jacobian in families(m, 2 * m + 3, np.random.default_rng(m)).items():
        norms = lengths(jacobian)
        best = np.linalg.pinv(jacobian[norms > 0] / norms[norms > 0, None], rcond=1e-7).sum(1)
        best /= np.linalg.norm(best)
        weights = equal_cosine_weights(jacobian @ jacobian.T)
        assert apart(weights @ jacobian, (jacobian @ best).sum() * best) < 1e-6, name


@pytest.mark.parametrize("m", [2, 3, 8, 16])
def test_equal_projection_solves_the_printed_system(m: int) -> None:
    for name in FULL_RANK:
        jacobian = families(m, 2 * m + 3, np.random.default_rng(m))[name]
        units = jacobian / lengths(jacobian)[:, None]
        # alpha_2.. = g_1 U^T (D U^T)^-1, D = g_1 - g_j, U = u_1 - u_j: the closed form of Liu et al. (2021), Eq. 5.
        gaps, turns = jacobian[0] - jacobian[1:], units[0] - units[1:]
        rest = np.linalg.solve((gaps @ turns.T).T, turns @ jacobian[0])
        wanted = (jacobian[0] - rest @ gaps) if m > 1 else jacobian[0]
        weights = equal_projection_weights(jacobian @ jacobian.T)
        error = np.linalg.norm(weights @ jacobian - wanted)
        assert error < 1e-6 * (np.abs(weights) @ lengths(jacobian)), name
        assert abs(weights.sum() - 1) < 1e-12, name


def test_certificates_on_hard_jacobians() -> None:
    for jacobian in stress(300, seed=6):
        gram = jacobian @ jacobian.T
        preference = np.linspace(0.5, 1.5, len(gram))
        for scale in ("min", "median", "rmse"):
            assert aligned_residual(gram, preference, aligned_weights(gram, preference, scale), scale) < 1e-9
        assert equal_projection_residual(gram, equal_projection_weights(gram)) < 1e-9
        assert equal_cosine_residual(gram, equal_cosine_weights(gram)) < 1e-9


def test_degenerate_gramians_have_their_documented_answers() -> None:
    opposite = np.array([[1.0, -2.0], [-2.0, 4.0]])
    np.testing.assert_allclose(equal_projection_weights(opposite), [2 / 3, 1 / 3])  # the only d is 0
    np.testing.assert_array_equal(equal_cosine_weights(opposite), [0.0, 0.0])
    for solve in (equal_projection_weights, equal_cosine_weights):
        np.testing.assert_array_equal(solve(np.zeros((2, 2))), [0.0, 0.0])
        np.testing.assert_allclose(solve(np.diag([0.0, 4.0])), [0.0, 1.0])
    np.testing.assert_array_equal(aligned_weights(np.zeros((2, 2)), np.ones(2)), [0.0, 0.0])
    np.testing.assert_allclose(aligned_weights(opposite, np.array([1.0, 0.0])), [0.2, -0.4])  # projection on the range


def test_unknown_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="scale must be one of min, median, rmse, got 'max'"):
        aligned_weights(np.eye(2), np.ones(2), "max")  # type: ignore[arg-type]


def test_residuals_see_wrong_weights() -> None:
    gram = np.diag([1.0, 9.0])
    assert aligned_residual(gram, np.ones(2), np.ones(2)) > 0.1
    assert equal_projection_residual(gram, np.array([0.5, 0.5])) > 0.1
    assert equal_projection_residual(gram, np.array([1.5, 0.5])) > 0.1
    assert equal_cosine_residual(gram, np.array([2.0, 2.0])) > 0.1
    assert equal_cosine_residual(gram, np.array([1.0, 1 / 3])) > 0.1
    assert equal_cosine_residual(gram, np.zeros(2)) > 0.1


@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.integers(-18, 18))
@settings(max_examples=60, deadline=None)
def test_scale_and_permutation(seed: int, m: int, exponent: int) -> None:
    rng = np.random.default_rng(seed)
    jacobian = rng.standard_normal((m, m + 5))
    gram, preference, order = jacobian @ jacobian.T, rng.random(m), rng.permutation(m)
    for solve in (
        lambda G, w0: aligned_weights(G, w0),
        lambda G, _: equal_projection_weights(G),
        lambda G, _: equal_cosine_weights(G),
    ):
        weights = solve(gram, preference)
        close = {"rtol": 1e-7, "atol": 1e-7 * np.abs(weights).max()}
        np.testing.assert_allclose(solve(gram * 100.0**exponent, preference), weights, **close)
        np.testing.assert_allclose(solve(gram[np.ix_(order, order)], preference[order]), weights[order], **close)
