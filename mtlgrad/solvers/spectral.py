"""Solutions by the spectrum of the Gramian: Aligned-MTL, IMTL-G and ConFIG, without ever touching J."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy.linalg.lapack import dgejsv, dpotrs

from mtlgrad.solvers.scaling import RANK_TOLERANCE, RESOLUTION, Array, safe_cholesky, unit_diagonal

Scale = Literal["min", "median", "rmse"]

_WELL_CONDITIONED = 1e-4  # smallest to largest eigenvalue of G
_ROW_SCALED = 2  # LAPACK's JOBA = 'F': accurate for a well-conditioned matrix with scaled rows


def aligned_weights(gram: Array, preference: Array, scale: Scale = "min") -> Array:
    """Weights of Aligned-MTL: the preference over the nearest Jacobian whose singular values are all equal.

    alpha = sqrt(s) V L^(-1/2) V^T w0 with G = V L V^T on its range (Senushkin et al. 2023, Eq. 5 and Algorithm 1).
    s is the smallest eigenvalue of that range, its lower median, or the mean ("rmse"). The rank is read from the
    unit-diagonal Gramian (eigenvalues above `RANK_TOLERANCE`), so that a short gradient is not mistaken for a
    dependent one.

    Parameters
    ----------
    gram:
        G [m, m], symmetric positive semi-definite, float64, finite, any scale.
    preference:
        w0 [m].
    scale:
        "min" (the paper's), "median" or "rmse".

    Returns
    -------
    w [m]; zeros if G is 0.

    Raises
    ------
    ValueError
        If `scale` is not one of the three.

    Examples
    --------
    >>> aligned_weights(np.array([[1.0, 0.0], [0.0, 4.0]]), np.ones(2)).tolist()
    [1.0, 0.5]
    """
    values, vectors = _range(gram)
    if not values.size:
        return np.zeros_like(preference, dtype=np.float64)
    return vectors @ (np.sqrt(_target(values, scale) / values) * (preference @ vectors))


def aligned_residual(gram: Array, preference: Array, weights: Array, scale: Scale = "min") -> float:
    """How far w is from Aligned-MTL's weights: 0 at the solution, dimensionless.

    Along each singular vector of J the direction must have length sqrt(s) times the preference: the summed
    differences relative to the summed lengths, and the part of w outside the range of G.

    Examples
    --------
    >>> aligned_residual(np.array([[1.0, 0.0], [0.0, 4.0]]), np.ones(2), np.array([1.0, 0.5]))
    0.0
    """
    values, vectors = _range(gram)
    if not values.size:
        return float(np.abs(weights).max())
    wanted = np.sqrt(_target(values, scale) / values) * (preference @ vectors)
    found = weights @ vectors
    lengths = np.sqrt(values)  # compared as parts of the direction along each singular vector of J
    gap = np.abs(found - wanted) @ lengths / (np.abs(wanted) @ lengths or 1.0)
    outside = np.linalg.norm(weights - vectors @ found) / (np.linalg.norm(weights) or 1.0)
    return float(max(gap, outside))


def equal_projection_weights(gram: Array) -> Array:
    """Weights of IMTL-G: they sum to 1, and d projects equally on every unit gradient (Liu et al. 2021, Eq. 1).

    With u_i = g_i / |g_i| the condition d . u_i = const reads Ghat (|g| w) = const 1. Where dependent gradients
    allow only d = 0 (opposite ones), w is taken in the null space of G. Zero gradients take no part. Weights may be
    negative; if their sum vanishes no scaling makes it 1, and the answer is zeros.

    Parameters
    ----------
    gram:
        G [m, m], symmetric positive semi-definite, float64, finite, any scale.

    Returns
    -------
    w [m], summing to 1 (or all zeros).

    Examples
    --------
    >>> equal_projection_weights(np.array([[1.0, 0.5], [0.5, 9.0]])).round(12).tolist()
    [0.75, 0.25]
    """
    cosines, norms, live = unit_diagonal(gram)
    if np.count_nonzero(live) < len(live):
        weights = np.zeros_like(norms)
        if live.any():
            weights[live] = equal_projection_weights(gram[np.ix_(live, live)])
        return weights
    scaled, unreached = _pseudo_solve(cosines)
    if unreached @ unreached > RESOLUTION**2 * len(scaled):
        scaled = unreached
    weights = scaled * (norms.min() / norms)
    total = weights.sum()
    if abs(total) <= RANK_TOLERANCE * np.abs(weights).sum():
        return np.zeros_like(norms)
    return np.asarray(weights / total)


def equal_projection_residual(gram: Array, weights: Array) -> float:
    """How far d = w J is from equal projections with weights that sum to 1: 0 at the solution, dimensionless.

    The spread of d . u_i relative to the lengths combined, and |sum w - 1| relative to sum |w|; zero gradients
    aside. Zero weights (no solution) count 0.

    Examples
    --------
    >>> equal_projection_residual(np.array([[1.0, 0.0], [0.0, 9.0]]), np.array([0.75, 0.25]))
    0.0
    """
    cosines, norms, live = unit_diagonal(gram)
    if not weights.any():
        return 0.0
    scaled = (weights * norms)[live]
    projections = cosines[np.ix_(live, live)] @ scaled
    spread = np.ptp(projections) / np.abs(scaled).sum()
    return float(max(spread, abs(weights.sum() - 1.0) / np.abs(weights).sum()))


def equal_cosine_weights(gram: Array, preference: Array | None = None) -> Array:
    """Weights of ConFIG: d makes equal cosines with all gradients (Liu, Chu and Thuerey 2025, Eq. 2).

    Or cosines proportional to `preference` [m], which takes the place of the vector of ones.

    d is along U^+ 1 with U the unit gradients, and |d| = sum_i g_i . d / |d|. U^+ 1 = U^T (U U^T)^+ 1 needs the
    Gramian only. If the unit gradients are dependent, 1 may be out of reach and the cosines are those nearest to
    equal in the least-squares sense; where they combine to nothing (opposite gradients) w = 0. Zero gradients take
    no part.

    Parameters
    ----------
    gram:
        G [m, m], symmetric positive semi-definite, float64, finite, any scale.

    Returns
    -------
    w [m].

    Examples
    --------
    >>> equal_cosine_weights(np.array([[1.0, 0.0], [0.0, 9.0]])).round(12).tolist()
    [2.0, 0.666666666667]
    """
    cosines, norms, live = unit_diagonal(gram)
    weights = np.zeros_like(norms)
    if not live.any():
        return weights
    cosines = cosines[np.ix_(live, live)]
    scaled, _ = _pseudo_solve(cosines, None if preference is None else preference[live])
    projections = cosines @ scaled
    square = float(scaled @ projections)
    if square > (RESOLUTION * float(np.abs(scaled).sum())) ** 2:
        weights[live] = scaled * (float(norms[live] @ projections) / square) / norms[live]
    return weights


def equal_cosine_residual(gram: Array, weights: Array) -> float:
    """How far d = w J is from ConFIG's: 0 at the solution, dimensionless.

    d is along the least-squares solution of U x = 1 when Ghat (U d - k) = 0 for some k, and has the right length when
    |d|^2 = sum_i g_i . d. Each is taken relative to the lengths combined. Zero weights claim Ghat 1 = 0.

    Examples
    --------
    >>> equal_cosine_residual(np.array([[1.0, 0.0], [0.0, 9.0]]), np.array([2.0, 2.0 / 3.0])) < 1e-15
    True
    """
    cosines, norms, live = unit_diagonal(gram)
    cosines, norms = cosines[np.ix_(live, live)], norms[live]
    scaled = weights[live] * norms
    if not scaled.any():
        return float(np.abs(cosines.sum(1)).max(initial=0.0) / max(len(norms), 1))
    projections, total = cosines @ scaled, cosines.sum(1)
    reach = float(np.abs(scaled).sum())
    pulled = cosines @ projections
    aligned = np.abs(pulled - total * (float(pulled @ total) / float(total @ total))).max() / reach
    length = abs(float(scaled @ projections) - float(norms @ projections))
    return float(max(aligned, length / (reach * (reach + norms.sum()))))


def _range(gram: Array) -> tuple[Array, Array]:
    """Eigenvalues [r], ascending, and eigenvectors [m, r] of G on its range.

    G = A A^T with A = D R^T [m, r] the factor of the unit-diagonal Gramian, rows scaled by the norms. Jacobi's
    singular values of A keep their relative accuracy whatever the norms, where `eigh` of G would lose every
    eigenvalue below 1e-16 of the largest (Demmel and Veselic 1992; Drmac and Veselic 2008).
    """
    values, vectors = np.linalg.eigh(gram)
    if values[0] > _WELL_CONDITIONED * values[-1]:
        return values, vectors  # four digits are lost at most
    cosines, norms, live = unit_diagonal(gram)
    if not live.any():
        return np.empty(0), np.empty((len(gram), 0))
    spectrum, basis = np.linalg.eigh(cosines)
    kept = spectrum > RANK_TOLERANCE * spectrum[-1]
    rows = norms[:, None] / norms.max() * basis[:, kept] * np.sqrt(spectrum[kept])
    lengths, vectors, _, work, _, failed = dgejsv(rows, joba=_ROW_SCALED, jobu=0, jobv=3, jobp=0)
    if failed:
        raise ArithmeticError(f"Jacobi's singular values did not converge on the Gramian\n{gram}")
    values = (lengths[::-1] * (work[0] / work[1] * norms.max())) ** 2
    return values, vectors[:, ::-1]


def _target(values: Array, scale: Scale) -> float:
    """The squared singular value that all are set to."""
    if scale == "min":
        return float(values[0])
    if scale == "median":
        return float(values[(len(values) - 1) // 2])
    if scale == "rmse":
        return float(values.mean())
    raise ValueError(f"scale must be one of {', '.join(get_args(Scale))}, got {scale!r}")


def _pseudo_solve(cosines: Array, wanted: Array | None = None) -> tuple[Array, Array]:
    """Ghat^+ p, and the part of p outside the range of Ghat, for p = `wanted` [m], or ones."""
    wanted = np.ones(len(cosines)) if wanted is None else wanted
    root, definite = safe_cholesky(cosines)
    if definite:
        return dpotrs(root, wanted)[0], np.zeros(len(cosines))
    values, vectors = np.linalg.eigh(cosines)
    ones = wanted @ vectors
    kept = values > RANK_TOLERANCE * values[-1]
    if ones[kept] @ ones[kept] < RESOLUTION**2 * (wanted @ wanted):  # p is orthogonal to the range but for rounding
        kept[:] = False
    inverse = np.divide(ones, values, out=np.zeros_like(ones), where=kept)
    return vectors @ inverse, vectors @ np.where(kept, 0.0, ones)
