"""Problems on the simplex of weights: the min-norm point and the projection."""

from __future__ import annotations

import numpy as np

from mtlgrad.solvers.nnls import nonnegative_least_squares
from mtlgrad.solvers.scaling import Array, factor, unit_diagonal


def min_norm_weights(gram: Array) -> Array:
    """Weights of the shortest vector in the convex hull of the gradients: min_{w in simplex} w^T G w.

    Exact (Desideri 2012; Sener and Koltun 2018, Eq. 3). The min-norm point is the direction of the
    non-negative least squares solution of [R; 1^T] u = [0; 1] with R^T R = G (Lawson and Hanson 1974, ch. 23);
    here in unit-diagonal variables, so that norms may differ by many orders of magnitude.

    Where a gradient is zero the shortest vector is 0 and the zero gradients share the weight equally.

    Parameters
    ----------
    gram:
        G [m, m], symmetric positive semi-definite, float64, finite, any scale.

    Returns
    -------
    w [m], non-negative, summing to 1.

    Examples
    --------
    >>> min_norm_weights(np.array([[1.0, 0.0], [0.0, 3.0]])).round(12).tolist()
    [0.75, 0.25]
    """
    if len(gram) == 2:
        return _between_two(float(gram[0, 0]), float(gram[0, 1]), float(gram[1, 1]))
    cosines, norms, live = unit_diagonal(gram)
    if not live.all():
        dead = ~live
        return dead / np.count_nonzero(dead)
    root, _ = factor(cosines)
    return nearest_to_origin(root, norms)


def _between_two(first: float, inner: float, second: float) -> Array:
    """`min_norm_weights` of two tasks, for |g_1|^2, g_1 . g_2 and |g_2|^2 (Sener and Koltun 2018, Algorithm 1)."""
    excess = max(second - inner, 0.0), max(first - inner, 0.0)
    total = sum(excess)
    return np.array(excess) / total if total > 0.0 else np.full(2, 0.5)


def nearest_to_origin(units: Array, norms: Array) -> Array:
    """Weights in the simplex of the shortest vector among the combinations of norms_i * units[:, i].

    `units` [p, m] holds unit columns (or zero ones), `norms` [m] is positive.
    """
    p, m = units.shape
    system = np.empty((p + 1, m))
    system[:p] = units
    system[p] = norms.min() / norms
    target = np.zeros((1, p + 1))
    target[0, p] = 1.0
    weights = nonnegative_least_squares(system, target)[0] * system[p]
    return np.asarray(weights / weights.sum())


def min_norm_residual(gram: Array, weights: Array) -> float:
    """How far w is from the min-norm point: 0 at the optimum, dimensionless.

    The optimum has (G w)_k >= w^T G w for every k. Each violation is taken relative to |g_k| times the summed
    lengths sum_i w_i |g_i|; leaving the simplex counts too.

    Examples
    --------
    >>> gram = np.array([[1.0, 0.0], [0.0, 3.0]])
    >>> min_norm_residual(gram, np.array([0.75, 0.25]))
    0.0
    >>> round(min_norm_residual(gram, np.array([1.0, 0.0])), 3)
    0.577
    """
    norms = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    slopes = gram @ weights
    scale = norms * (weights @ norms)
    gap = np.where(scale > 0.0, (weights @ slopes - slopes) / np.where(scale > 0.0, scale, 1.0), 0.0)
    return float(max(gap.max(), -weights.min(), abs(weights.sum() - 1.0)))


def project_onto_simplex(point: Array) -> Array:
    """The nearest point of the simplex {w >= 0, sum w = 1} to `point` [m], by sorting (Held et al. 1974).

    Examples
    --------
    >>> project_onto_simplex(np.array([1.0, 0.5, -2.0])).tolist()
    [0.75, 0.25, 0.0]
    """
    point = point - point.max()  # the answer is the same, and large entries keep their digits
    descending = np.sort(point)[::-1]
    excess = (np.cumsum(descending) - 1.0) / np.arange(1, len(point) + 1)
    threshold = excess[np.count_nonzero(descending > excess) - 1]
    return np.asarray(np.maximum(point - threshold, 0.0))
