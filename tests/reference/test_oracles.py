"""The oracles themselves, on problems that can be solved by hand."""

import builtins
from typing import Any

import numpy as np
import pytest

from mtlgrad import reference

OPPOSED = np.array([[1.0, 0.0], [-1.0, 1.0]])  # 135 degrees apart


def test_projections_by_hand() -> None:
    np.testing.assert_allclose(reference.harmonized_gradient(OPPOSED, 0), [0.5, 0.5], atol=1e-9)
    np.testing.assert_allclose(reference.harmonized_gradient(OPPOSED, 1), [0.0, 1.0], atol=1e-9)
    np.testing.assert_allclose(reference.upgrad(OPPOSED), [0.25, 0.75], atol=1e-9)
    np.testing.assert_allclose(reference.dualproj(OPPOSED), [0.0, 0.5], atol=1e-6)  # on the edge of the cone


def test_min_norm_and_cagrad_by_hand() -> None:
    np.testing.assert_allclose(reference.min_norm_point(OPPOSED), [0.2, 0.4], atol=1e-9)
    np.testing.assert_allclose(reference.min_norm_point(np.array([[1.0, 2.0], [0.0, 0.0]])), [0.0, 0.0])
    rows = np.array([[3.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(reference.cagrad_direction(rows, 0.5), [2.25, 2.25], atol=1e-6)
    np.testing.assert_allclose(reference.cagrad_direction(rows, 0.0), [1.5, 1.5])


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_bargaining_of_orthogonal_gradients_by_hand(alpha: float) -> None:
    norms = np.array([0.5, 4.0])
    wanted = norms ** (1 - 2 * alpha / (1 + alpha))  # w = |g|^(-2 alpha / (1 + alpha)) solves each row on its own
    np.testing.assert_allclose(reference.bargaining_direction(np.diag(norms), alpha), wanted, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-18, 1e18])
def test_scale_is_undone(scale: float) -> None:
    for solve in (reference.upgrad, reference.min_norm_point):
        np.testing.assert_allclose(solve(scale * OPPOSED) / scale, solve(OPPOSED), atol=1e-9)
    got = reference.cagrad_direction(scale * OPPOSED, 0.5) / scale
    np.testing.assert_allclose(got, reference.cagrad_direction(OPPOSED, 0.5), atol=1e-6)


def test_families_are_what_they_say() -> None:
    jacobians = reference.families(6, 9, np.random.default_rng(0))
    norms = {name: np.linalg.norm(rows, axis=1) for name, rows in jacobians.items()}
    assert norms["imbalanced"].max() / norms["imbalanced"].min() > 1e5
    assert np.linalg.matrix_rank(jacobians["rank_deficient"]) == 3
    assert norms["zero_row"][-1] == 0.0
    for name, sign in (("near_parallel", 1.0), ("near_opposite", -1.0)):
        rows = jacobians[name] / norms[name][:, None]
        assert 0.0 < np.linalg.norm(rows[-1] - sign * rows[0]) < 1e-3
    again = reference.families(6, 9, np.random.default_rng(0))
    assert all((again[name] == jacobians[name]).all() for name in jacobians)


def test_no_answer_is_said() -> None:
    with pytest.raises(ArithmeticError, match="no answer"):
        reference.bargaining_direction(np.array([[1.0, 0.0], [-1.0, 0.0]]))


def test_missing_cvxpy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_cvxpy(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "cvxpy":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_cvxpy)
    with pytest.raises(ImportError, match=r"pip install mtlgrad\[verify\]"):
        reference.dualproj(OPPOSED)
