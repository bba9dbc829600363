"""Projection onto the dual cone of the gradients, {x : J x >= 0}, from the Gramian alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv

from mtlgrad.solvers.nnls import nonnegative_least_squares
from mtlgrad.solvers.scaling import RESOLUTION, Array, Mask, factor, safe_cholesky, unit_diagonal

Rows = NDArray[np.intp]

_EPS = float(np.finfo(np.float64).eps)
_NOISE = -8 * _EPS  # a multiplier or slope above it, in units of the lengths combined, is not negative
_CONFLICT = -4 * _EPS / RESOLUTION  # a cosine above it may be that of no conflict
_MASKED = 32  # up to this size whole matrices are solved faster than their gathered blocks (measured)
_SMALL = 10  # up to this size a round costs no more than a good guess, or than finding out who needs it (measured)
_GUESS_STEPS = 5  # fewer leave more rounds, more cost more than the round they save (measured)
_BATCH_ROUNDS = 12  # a row that exchanges longer than this is cycling; typical rows need 1 to 4


def project_onto_dual_cone(gram: Array, points: Array) -> Array:
    """Weights W of the points nearest to U J that conflict with no gradient.

    Row by row, x = w J solves min |x - u J|^2 subject to J x >= 0. Its dual is the non-negative least squares
    problem min_{v >= 0} |(u + v) J|^2 with w = u + v (Quinton and Rey 2024, Prop. 1; Lopez-Paz and Ranzato 2017,
    Eq. 11), and needs G = J J^T only. It is solved on unit-diagonal G, exactly, by active sets.

    A projection shorter than `RESOLUTION` times the lengths combined in it cannot be told from 0: its weights are
    returned as exact zeros, so that x does not conflict by rounding; and so are those of one that rounding has made
    conflict after all. A zero gradient keeps w_k = u_k.

    Parameters
    ----------
    gram:
        G [m, m], symmetric positive semi-definite, float64, finite, any scale.
    points:
        U [k, m]: the weights of the points to project, e.g. the identity for every gradient.

    Returns
    -------
    W [k, m].

    Examples
    --------
    Two unit gradients at 120 degrees: each loses its part along the other.

    >>> gram = np.array([[1.0, -0.5], [-0.5, 1.0]])
    >>> project_onto_dual_cone(gram, np.eye(2)).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    cosines, norms, live = unit_diagonal(gram)
    if np.count_nonzero(live) < len(live):
        weights = points.copy()
        if live.any():
            weights[:, live] = project_onto_dual_cone(gram[np.ix_(live, live)], points[:, live])
        return weights
    scaled = points * norms
    lengths = np.abs(scaled).sum(1)
    lengths[lengths == 0.0] = 1.0
    scaled /= lengths[:, None]
    slopes = scaled @ cosines
    if not np.count_nonzero(slopes < 0.0):
        return points.copy()
    push = _multipliers(cosines, scaled, slopes)
    # |x|^2 = x . uJ at a projection: loses fewer digits than |x|^2 itself when the multipliers are large.
    after = slopes + push @ cosines
    squares = np.einsum("km,km->k", scaled, after)
    lost = squares < (RESOLUTION * (1.0 + push.sum(1))) ** 2
    # The factor solved with has small eigenvalues replaced: what comes out short may in G itself conflict.
    lost |= after.min(1) < _CONFLICT * np.sqrt(np.maximum(squares, 0.0))
    push *= lengths[:, None]
    push /= norms
    push += points
    push[lost] = 0.0
    return push


def harmonized_parts(gram: Array) -> Array:
    """A [m, m]: row i holds the weights of g_i projected onto {x : J x >= 0}; for two tasks in closed form.

    Examples
    --------
    >>> harmonized_parts(np.array([[1.0, -0.5], [-0.5, 2.0]])).tolist()
    [[1.0, 0.25], [0.5, 1.0]]
    """
    if len(gram) != 2:
        cosines, norms, _ = unit_diagonal(gram)
        push = _multipliers_apart(cosines)
        if push is None:
            return project_onto_dual_cone(gram, np.eye(len(gram)))
        push *= norms[:, None]
        push /= norms
        push.flat[:: len(gram) + 1] += 1.0
        return push
    first, inner, second = float(gram[0, 0]), float(gram[0, 1]), float(gram[1, 1])
    if not (inner < 0.0 < first and second > 0.0):
        return np.eye(2)
    cosine = max(inner / math.sqrt(first) / math.sqrt(second), -1.0)
    if (1.0 - cosine) * (1.0 + cosine) < (RESOLUTION * (1.0 - cosine)) ** 2:
        return np.zeros((2, 2))
    return np.array([[1.0, -inner / second], [-inner / first, 1.0]])


def harmonized_sum(gram: Array) -> Array:
    """The weights [m] of the sum of all m gradients, each projected onto {x : J x >= 0}: `harmonized_parts`, summed.

    Examples
    --------
    >>> harmonized_sum(np.array([[1.0, -0.5], [-0.5, 2.0]])).tolist()
    [1.5, 1.25]
    """
    if len(gram) != 2:
        cosines, norms, _ = unit_diagonal(gram)
        push = _multipliers_apart(cosines)
        if push is not None:
            return np.asarray(norms @ push / norms + 1.0)
    return np.asarray(harmonized_parts(gram).sum(0))


def cone_residual(gram: Array, points: Array, weights: Array) -> float:
    """How far W is from the projections of U J onto {x : J x >= 0}: 0 at the optimum, dimensionless.

    The largest violation, over rows, of the Karush-Kuhn-Tucker conditions in unit-diagonal variables:
    J x >= 0 and v = w - u >= 0 (relative to the lengths combined), and v . J x = 0 (relative to their square).
    A row of zero weights claims that u J projects to 0: it counts the squared distance of -u J from the cone of
    the gradients, relative to the lengths combined.

    Examples
    --------
    >>> gram = np.array([[1.0, -0.5], [-0.5, 1.0]])
    >>> cone_residual(gram, np.eye(2), np.array([[1.0, 0.5], [0.5, 1.0]]))
    0.0
    >>> round(cone_residual(gram, np.eye(2), np.eye(2)), 3)
    0.25
    """
    cosines, norms, live = unit_diagonal(gram)
    cosines = cosines[np.ix_(live, live)]
    worst = 0.0
    for start, end in zip((points * norms)[:, live], (weights * norms)[:, live], strict=True):
        scale = np.abs(start).sum() + np.abs(end).sum()
        if scale == 0.0:
            continue
        if not end.any():
            root, _ = factor(cosines)
            push = nonnegative_least_squares(root, -(root @ start)[None])[0]
            worst = max(worst, float(np.linalg.norm(root @ (start + push)) / (scale + push.sum())) ** 2)
            continue
        slopes, push = cosines @ end / scale, (end - start) / scale
        worst = max(worst, -slopes.min(), -push.min(), abs(push @ slopes))
    return float(worst)


def _multipliers_apart(cosines: Array) -> Array | None:
    """`_multipliers` of the m unit gradients, where they are well apart: no projection can be taken for 0. Else None.

    With V the squared volume that they span, no eigenvalue of Ghat lies below V / e (their product is V and their
    sum m), and so no combination with weights w >= 0 is shorter than |w|_1 (V / (e m))^(1/2): above `RESOLUTION`.
    """
    root, definite = safe_cholesky(cosines)
    if not definite:
        return None
    m, mean = len(cosines), _mean_eigenvalue(root)
    if mean**m <= RESOLUTION**2 * math.e * m:
        return None
    push, left = _exchange(cosines, mean, cosines)
    return None if left.size else push


def _multipliers(cosines: Array, scaled: Array, slopes: Array) -> Array:
    """V [k, m] >= 0 with slopes + V Ghat >= 0 and complementary, where slopes = U Ghat and the rows of |U| sum to 1."""
    root, definite = factor(cosines)
    if definite:
        push, left = _exchange(cosines, _mean_eigenvalue(root), slopes)
    else:
        push, left = np.zeros_like(scaled), np.flatnonzero((slopes < 0.0).any(1))
    if left.size:
        push[left] = nonnegative_least_squares(root, -(scaled[left] @ root.T))
    return push


def _mean_eigenvalue(root: Array) -> float:
    """The geometric mean of the eigenvalues of R^T R, for R triangular."""
    pivots = root.diagonal().tolist()
    return math.exp(2.0 * sum(map(math.log, pivots)) / len(pivots))


def _exchange(cosines: Array, mean: float, slopes: Array) -> tuple[Array, Rows]:
    """Block principal pivoting (Judice and Pires 1994), all rows at once; says which rows it left unsolved.

    `mean` is that of the eigenvalues of Ghat, the geometric one.
    """
    support = slopes < 0.0
    if not np.count_nonzero(support):
        return np.zeros_like(slopes), np.flatnonzero(support)
    if len(cosines) > _SMALL:
        support = _guess(cosines, mean, slopes)
    settled, support, left = _rounds(cosines, slopes, support, _BATCH_ROUNDS)
    push = np.where(support, settled, 0.0)
    return np.maximum(push, 0.0, out=push), left


def _rounds(cosines: Array, slopes: Array, support: Mask, allowed: int) -> tuple[Array, Mask, Rows]:
    """Solves on the guessed support [k, m], then moves every index of the wrong sign to the other side, and again.

    Returns what `_pivot` gives on the last support of each row, that support, and the rows that need more rounds.
    """
    settled = _pivot(cosines, slopes, support)
    wrong = settled < _NOISE
    if not np.count_nonzero(wrong):
        return settled, support, np.empty(0, dtype=np.intp)
    left = np.flatnonzero(wrong.any(1))
    if allowed == 1:
        return settled, support, left
    if len(cosines) <= _SMALL:
        return _rounds(cosines, slopes, support ^ wrong, allowed - 1)
    settled[left], support[left], still = _rounds(cosines, slopes[left], (support ^ wrong)[left], allowed - 1)
    return settled, support, left[still]


def _guess(cosines: Array, shift: float, slopes: Array) -> Mask:
    """A support [k, m] to begin with: what some steps of the modulus iteration (van Bokhoven 1981) leave positive.

    With v = |y| + y and slopes + v Ghat = r (|y| - y), complementary whatever y is, the problem reads
    y (Ghat + r I) = |y| (r I - Ghat) - slopes. To iterate it is one product of matrices a step for all rows together,
    cheaper than the rounds of solving that it saves. Of the shifts r, the geometric mean of the eigenvalues is nearly
    the best (measured).
    """
    shifted = cosines.copy()
    shifted.flat[:: len(shifted) + 1] += shift
    _, share, _ = dposv(shifted, cosines)  # Ghat (Ghat + r I)^-1
    offset = (slopes @ share - slopes) / shift
    reflect = -2.0 * share
    reflect.flat[:: len(shifted) + 1] += 1.0
    guess = offset
    for _ in range(_GUESS_STEPS):
        guess = np.abs(guess) @ reflect
        guess += offset
    return np.asarray(guess > 0.0)


def _pivot(cosines: Array, slopes: Array, support: Mask) -> Array:
    """Z [k, m]: the multipliers V on the support, where slopes + V Ghat = 0, and off it slopes + V Ghat, where V = 0.

    One linear system has both as its unknowns: the columns of Ghat on the support, those of -I off it.
    """
    if len(cosines) > _MASKED:
        return _pivot_gathered(cosines, slopes, support)
    held = support.astype(np.float64)
    columns = cosines * held[:, None, :]
    columns.reshape(len(columns), -1)[:, :: len(cosines) + 1] = held + held - 1.0
    return np.asarray(np.linalg.solve(columns, -slopes[:, :, None])[:, :, 0])


def _pivot_gathered(cosines: Array, slopes: Array, support: Mask) -> Array:
    """`_pivot` from blocks no wider than the largest support, padded by the identity."""
    width = int(support.sum(1).max())
    rows = np.arange(len(slopes))[:, None]
    order = np.argsort(~support, axis=1, kind="stable")[:, :width]  # the support first
    held = support[rows, order].astype(np.float64)
    blocks = cosines[order[:, :, None], order[:, None, :]]
    blocks *= held[:, :, None]
    blocks *= held[:, None, :]
    blocks.reshape(len(blocks), -1)[:, :: width + 1] = 1.0
    push = np.zeros_like(slopes)
    push[rows, order] = np.linalg.solve(blocks, (-held * slopes[rows, order])[:, :, None])[:, :, 0]
    return np.where(support, push, slopes + push @ cosines)
