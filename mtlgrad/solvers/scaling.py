"""Scaling and factoring of the Gramian: what makes every solver blind to the units of the losses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

RESOLUTION = float(np.finfo(np.float64).eps) / 1e-9
"""Shortest combination of gradients, relative to the sum of the lengths that it combines, that is told from zero.

Below this ratio (2.2e-7) the rounding of G alone moves the cosine between the combination and a gradient by more
than 1e-9, so that not even its sign is known; solvers then answer with the exact zero.
"""

RANK_TOLERANCE = 1e-13
"""Eigenvalues of a unit-diagonal Gramian below this (times the largest) are noise of the inner products.

It balances two errors of J d: keeping an eigenvalue t costs eps/sqrt(t), dropping it costs t.
"""

_FLOOR = 1e-15
"""What such eigenvalues are set to: not 0, so that parallel gradients keep independent columns in the factor.

Of all the weights that give the same vector the solvers then find the shortest, which is unique; the price is an
error of 1e-15 relative to the lengths combined.
"""

_SAFE_PIVOT = 1e-4  # a Cholesky factor with pivots above it keeps half of the digits: no eigenvectors needed


def unit_diagonal(gram: Array) -> tuple[Array, Array, Mask]:
    """Ghat = D^-1 G D^-1 with D = diag(G)^(1/2): the matrix of cosines.

    Parameters
    ----------
    gram:
        G [m, m], symmetric positive semi-definite, any scale.

    Returns
    -------
    Ghat [m, m] with diagonal 1 (0 on the row and column of a zero gradient), the norms |g_i| [m], and the mask
    [m] of the gradients that are not zero.

    Examples
    --------
    >>> cosines, norms, live = unit_diagonal(np.array([[4.0, -3.0], [-3.0, 9.0]]))
    >>> cosines.tolist(), norms.tolist(), live.tolist()
    ([[1.0, -0.5], [-0.5, 1.0]], [2.0, 3.0], [True, True])
    """
    norms = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    live = norms > 0.0
    if np.count_nonzero(live) == len(live):
        cosines = gram / norms[:, None]
        cosines /= norms
        cosines.flat[:: len(norms) + 1] = 1.0
        return cosines, norms, live
    inverse = np.zeros_like(norms)
    np.divide(1.0, norms, out=inverse, where=live)
    cosines = gram * inverse[:, None] * inverse
    cosines.flat[:: len(norms) + 1] = live
    return cosines, norms, live


def safe_cholesky(cosines: Array) -> tuple[Array, bool]:
    """The upper Cholesky factor of Ghat [m, m], and whether its pivots are large enough to be relied on.

    Examples
    --------
    >>> safe_cholesky(np.eye(2))[1], safe_cholesky(np.ones((2, 2)))[1]
    (True, False)
    """
    root, failed = dpotrf(cosines)
    return root, not failed and min(root.diagonal().tolist()) > _SAFE_PIVOT


def factor(cosines: Array) -> tuple[Array, bool]:
    """R [m, m] with R^T R = Ghat, and whether Ghat is safely positive definite.

    Column i of R stands for the unit vector of gradient i in m coordinates. A safely positive definite matrix is
    factored by Cholesky; any other by its eigenvectors, with the eigenvalues below `RANK_TOLERANCE` set to 1e-15,
    so that parallel gradients keep (barely) independent columns.

    Examples
    --------
    >>> root, definite = factor(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    >>> definite, bool(np.allclose(root.T @ root, [[1.0, -1.0], [-1.0, 1.0]]))
    (False, True)
    """
    root, definite = safe_cholesky(cosines)
    if definite:
        return root, True
    values, vectors = np.linalg.eigh(cosines)
    values[values < RANK_TOLERANCE * values[-1]] = _FLOOR
    return np.sqrt(values)[:, None] * vectors.T, False
