import numpy as np
import pytest

from mtlgrad.reference import families
from mtlgrad.solvers.scaling import RANK_TOLERANCE, factor, unit_diagonal


@pytest.mark.parametrize("m", [1, 2, 5, 16])
def test_factor_and_norms_rebuild_the_gramian(m: int) -> None:
    for name, jacobian in families(m, 2 * m, np.random.default_rng(m)).items():
        gram = jacobian @ jacobian.T
        cosines, norms, live = unit_diagonal(gram)
        assert (live == (norms > 0)).all(), name
        root, _ = factor(cosines)
        rebuilt = (root.T @ root) * norms * norms[:, None]
        assert np.abs(rebuilt - gram).max() <= 1e-12 * np.abs(gram).max(), name


@pytest.mark.parametrize("scale", [1e-36, 1.0, 1e36])
def test_unit_diagonal_does_not_see_the_scale(scale: float) -> None:
    gram = np.array([[4.0, -3.0, 0.0], [-3.0, 9.0, 0.0], [0.0, 0.0, 0.0]])
    cosines, norms, live = unit_diagonal(scale * gram)
    np.testing.assert_allclose(cosines, [[1.0, -0.5, 0.0], [-0.5, 1.0, 0.0], [0.0, 0.0, 0.0]], rtol=1e-15)
    np.testing.assert_allclose(norms, np.sqrt(scale) * np.array([2.0, 3.0, 0.0]), rtol=1e-15)
    assert live.tolist() == [True, True, False]


def test_factor_tells_definite_from_singular_and_keeps_columns_independent() -> None:
    assert factor(np.array([[1.0, 0.5], [0.5, 1.0]]))[1]
    root, definite = factor(np.ones((3, 3)))
    assert not definite
    assert np.linalg.matrix_rank(root, tol=1e-9) == 3
    assert np.abs(root.T @ root - 1.0).max() < RANK_TOLERANCE
