import numpy as np
import pytest
import scipy.optimize

from mtlgrad.solvers.nnls import lawson_hanson, nonnegative_least_squares


@pytest.mark.parametrize("seed", range(30))
def test_both_solvers_meet_the_optimality_conditions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, m = int(rng.integers(1, 12)), int(rng.integers(1, 12))
    matrix, target = rng.standard_normal((p, m)), rng.standard_normal(p)
    for answer in (nonnegative_least_squares(matrix, target[None])[0], lawson_hanson(matrix, target)):
        slopes = matrix.T @ (matrix @ answer - target)
        assert answer.min() >= 0.0
        assert slopes.min() > -1e-10 * (1 + answer.sum())
        assert abs(answer @ slopes) < 1e-10 * (1 + answer.sum()) ** 2


def test_a_gradient_at_the_rounding_level_does_not_lead_astray() -> None:
    # Points on the boundary of their cone: x = 0 is optimal and the slopes of several columns are 0 but for rounding.
    rng = np.random.default_rng(5)
    for _ in range(50):
        matrix = np.linalg.qr(rng.standard_normal((7, 7)))[1]
        edge = np.linalg.solve(matrix.T, np.where(rng.random(7) < 0.5, rng.random(7), 0.0))
        answer = nonnegative_least_squares(matrix, -edge[None])[0]
        assert np.abs(matrix @ answer).max() < 1e-12 * np.linalg.norm(edge)


def test_an_exhausted_solver_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise RuntimeError("Maximum number of iterations reached.")

    rng = np.random.default_rng(0)
    matrix, targets = rng.standard_normal((5, 4)), rng.standard_normal((3, 5))
    wanted = nonnegative_least_squares(matrix, targets)
    monkeypatch.setattr(scipy.optimize, "nnls", exhausted)
    np.testing.assert_allclose(nonnegative_least_squares(matrix, targets), wanted, atol=1e-12)
