"""The conflict-averse sub-problem (CAGrad), exactly, from the Gramian alone."""

from __future__ import annotations

import math

import numpy as np

from mtlgrad.solvers.cone import project_onto_dual_cone
from mtlgrad.solvers.scaling import RESOLUTION, Array, factor
from mtlgrad.solvers.simplex import min_norm_weights, nearest_to_origin

_ROUNDS = 100  # each round leaves a face or halves the bracket; typical problems need 2 or 3
_AGREE = 1e-3  # relative difference of two squared lengths that rounding alone makes
_EPS = float(np.finfo(np.float64).eps)


def cagrad_weights(gram: Array, c: float) -> tuple[Array, Array]:
    """The worst-case weights of CAGrad and the weights of its direction.

    Solves min_{w in simplex} g_w . g_0 + c |g_0| |g_w| with g_w = w J and g_0 the mean gradient, the dual of
    max_d min_i g_i . d subject to |d - g_0| <= c |g_0| (Liu et al. 2021, Eq. 3); d = g_0 + c |g_0| g_w / |g_w|.

    For a fixed t, the w that satisfies the optimality conditions with |g_w| = t c |g_0| is the min-norm point of
    {g_i + t g_0}. That w is piecewise linear in t, and on each face of the simplex the t with
    |g_w(t)| = t c |g_0| is a square root: the search goes from face to face and ends exactly.

    Where the formula is undefined: c = 0 gives d = g_0, and so does g_0 = 0 for c < 1. From c = 1 on a g_0 that cannot
    be told from 0 gives d = 0, because not even the sign of its products with the gradients is known. An optimal
    g_w = 0 (Pareto-stationary point) gives the d nearest to g_0 among the solutions of the printed maximisation, the
    projection of g_0 onto {x : J x >= 0}, or as much of the way there as the ball allows. So does a g_w whose length
    or whose products with the gradients rounding leaves unknown.

    Parameters
    ----------
    gram:
        G [m, m], symmetric positive semi-definite, float64, finite, any scale.
    c:
        Radius of the search relative to |g_0|, at least 0. From 1 on d conflicts with no gradient.

    Returns
    -------
    w [m] in the simplex, and the weights [m] of d on the rows of J.

    Examples
    --------
    >>> worst_case, direction = cagrad_weights(np.array([[1.0, 0.0], [0.0, 9.0]]), c=0.5)
    >>> worst_case.tolist(), direction.round(6).tolist()
    ([1.0, 0.0], [1.290569, 0.5])
    """
    m = len(gram)
    mean = np.full(m, 1.0 / m)
    norms = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    slopes = gram @ mean
    length = math.sqrt(max(float(mean @ slopes), 0.0))
    if length < RESOLUTION * norms.sum() / m or length == 0.0:
        return mean, np.zeros(m) if c >= 1.0 else mean.copy()
    if c == 0.0:
        return np.eye(m)[np.argmin(slopes)], mean

    worst_case = min_norm_weights(gram)
    if _squared(gram, worst_case) < (RESOLUTION * (worst_case @ norms)) ** 2 or not norms.all():
        nearest, inside = _towards_dual_cone(gram, mean, c, length)
        if inside:
            return worst_case, nearest

    unit = norms.max()
    cosines = gram / np.outer(np.where(norms > 0.0, norms, 1.0), np.where(norms > 0.0, norms, 1.0))
    points = factor(cosines)[0] * (norms / unit)
    worst_case, t = _search(points, points.mean(1), c * length / unit, worst_case)
    direction = mean + worst_case / t
    if _is_known(gram, norms, worst_case, t * c * length, direction if c >= 1.0 else None):
        return worst_case, direction
    return worst_case, _towards_dual_cone(gram, mean, c, length)[0]


def cagrad_residual(gram: Array, c: float, worst_case: Array, direction: Array) -> float:
    """How far (w, d) is from CAGrad's optimum: 0 at the optimum, dimensionless.

    With w in the simplex and |d - g_0| <= c |g_0|, both are optimal if and only if g_i . d >= g_w . d for every i
    and d - g_0 points along g_w with full length, (d - g_0) . g_w = c |g_0| |g_w|. Counts the largest violation of
    the four, relative to the lengths (or squared lengths) compared. The length of d - g_0 is compared with the radius,
    but for what rounding of G leaves unknown of it where weights are huge.

    Examples
    --------
    >>> gram = np.array([[1.0, 0.0], [0.0, 9.0]])
    >>> cagrad_residual(gram, 0.5, *cagrad_weights(gram, 0.5)) < 1e-12
    True
    """
    m = len(gram)
    norms = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    length = math.sqrt(max(float(gram.sum()), 0.0)) / m
    radius = c * length
    combined = float(worst_case @ norms)
    simplex = max(-worst_case.min(), abs(worst_case.sum() - 1.0))
    if length == 0.0 or combined == 0.0:
        return float(simplex)
    slopes, step = gram @ direction, direction - 1.0 / m
    reach = length + radius + float(np.abs(step) @ norms)
    gap = (worst_case @ slopes - slopes) / (reach * (norms + combined))
    # Squares, because a length that cancels to nearly zero is only known to the root of the rounding.
    rounding = m * _EPS * float(np.abs(step) @ norms) ** 2
    outside = (float(step @ gram @ step) - radius**2 - rounding) / (length + radius) ** 2
    worst_case = worst_case / combined
    aligned = float(worst_case @ gram @ step) / (length + radius)
    slack = float(worst_case @ gram @ worst_case) * (radius / (length + radius)) ** 2 - aligned**2
    return float(max(gap.max(), outside, slack, simplex))


def _squared(gram: Array, weights: Array) -> float:
    """|w J|^2."""
    return float(weights @ gram @ weights)


def _towards_dual_cone(gram: Array, mean: Array, c: float, length: float) -> tuple[Array, bool]:
    """Weights of the projection of g_0 onto {x : J x >= 0} and True, or of as much of the way as the ball allows.

    A cone holds 0, so that its point nearest to g_0 is no further away than |g_0|: inside from c = 1 on.
    """
    moved = project_onto_dual_cone(gram, mean[None])[0] - mean
    square, radius = _squared(gram, moved), c * length
    if c >= 1.0 or square <= radius**2 * (1.0 + RESOLUTION):
        return mean + moved, True
    return mean + moved * (radius / math.sqrt(square)), False


def _is_known(gram: Array, norms: Array, worst_case: Array, pull: float, direction: Array | None) -> bool:
    """Whether rounding leaves g_w its length, found as `pull`, and no product of a gradient with d its sign.

    `pull` comes from a factor of G that has its smallest eigenvalues replaced. In G itself a g_w far shorter than the
    gradients combined in it may have another length, and d then step out of the ball or conflict.
    """
    square = _squared(gram, worst_case)
    if square < (RESOLUTION * (worst_case @ norms)) ** 2 or abs(square - pull**2) > _AGREE * square:
        return False
    if direction is None:
        return True
    slopes = gram @ direction
    size = math.sqrt(max(float(direction @ slopes), 0.0))
    return bool(
        size >= RESOLUTION * (np.abs(direction) @ norms) and (slopes >= -_EPS / RESOLUTION * size * norms).all()
    )


def _search(points: Array, mean: Array, radius: float, start: Array) -> tuple[Array, float]:
    """w(t) and t > 0 with |points @ w(t)| = t * radius, where w(t) is the min-norm point of points + t * mean.

    `start` is w(0). |points @ w(t)| - t * radius changes sign once, at the answer, which the bracket keeps inside.
    """
    lengths = np.sqrt(np.einsum("pm,pm->m", points, points))
    low, high = 0.0, float(lengths.max()) / radius
    weights, t = start, 0.0
    for _ in range(_ROUNDS):
        face = np.flatnonzero(weights > 0.0)
        target = _root_on_face(points[:, face], lengths[face], mean, radius)
        if t > 0.0 and abs(target - t) <= 8 * _EPS * t:
            break
        t = target if low < target <= high else math.sqrt(max(low, 1e-3 * high) * high)
        shifted = points + t * mean[:, None]
        norms = np.sqrt(np.einsum("pm,pm->m", shifted, shifted))
        norms[norms == 0.0] = norms.max()
        weights = nearest_to_origin(shifted / norms, norms)
        if np.array_equal(np.flatnonzero(weights > 0.0), face) and t == target:
            break
        if np.linalg.norm(points @ weights) > t * radius:
            low = t
        else:
            high = t
    return weights, t


def _root_on_face(points: Array, lengths: Array, mean: Array, radius: float) -> float:
    """The t with |g_w(t)| = t * radius if w(t) keeps to these points; infinite if there is none.

    On their affine hull g_w(t) = p - t q, with p its point nearest to 0 and q the part of the mean along it;
    p and q are orthogonal.
    """
    corner = int(np.argmin(lengths))
    nearest, along = points[:, corner], 0.0 * mean
    if points.shape[1] > 1:
        edges = np.delete(points, corner, axis=1) - nearest[:, None]
        edges /= np.sqrt(np.einsum("pm,pm->m", edges, edges))
        basis = np.linalg.qr(edges)[0]
        along = basis @ (basis.T @ mean)
        nearest = nearest - basis @ (basis.T @ nearest)
    left = radius**2 - float(along @ along)
    return math.sqrt(float(nearest @ nearest) / left) if left > 0.0 else math.inf
