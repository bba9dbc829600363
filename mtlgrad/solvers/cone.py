"""Projection onto the dual cone of the gradients, {x : J x >= 0}, from the Gramian alone."""

from __future__ import annotations

import math

import numpy as np

from mtlgrad.solvers.nnls import nonnegative_least_squares
from mtlgrad.solvers.scaling import RESOLUTION, Array, Mask, factor, unit_diagonal

_EPS = float(np.finfo(np.float64).eps)
_BATCH_ENTRIES = 40  # fewer entries of U than this are solved faster row by row than in a batch (measured)
_MASKED = 24  # up to this size whole matrices are solved faster than their gathered blocks (measured)
_SMALL = 12  # up to this size a round costs no more than a good guess of the support (measured)
_GUESS_STEPS = 8  # fewer leave more rounds, more cost more than the round they save (measured)
_BATCH_ROUNDS = 12  # a row that exchanges longer than this is cycling; typical rows need 2 to 5


def project_onto_dual_cone(gram: Array, points: Array) -> Array:
    """Weights W of the points nearest to U J that conflict with no gradient.

    Row by row, x = w J solves min |x - u J|^2 subject to J x >= 0. Its dual is the non-negative least squares
    problem min_{v >= 0} |(u + v) J|^2 with w = u + v (Quinton and Rey 2024, Prop. 1; Lopez-Paz and Ranzato 2017,
    Eq. 11), and needs G = J J^T only. It is solved on unit-diagonal G, exactly, by active sets.

    A projection shorter than `RESOLUTION` times the lengths combined in it cannot be told from 0: its weights are
    returned as exact zeros, so that x does not conflict by rounding. A zero gradient keeps w_k = u_k.

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
    if not live.all():
        weights = points.copy()
        if live.any():
            weights[:, live] = project_onto_dual_cone(gram[np.ix_(live, live)], points[:, live])
        return weights
    scaled = points * norms
    slopes = scaled @ cosines
    todo = (slopes < 0.0).any(1)
    if not todo.any():
        return points.copy()
    push = np.zeros_like(scaled)
    push[todo] = _multipliers(cosines, scaled[todo], slopes[todo])
    weights = points + push / norms
    # |x|^2 = x . uJ at a projection: loses fewer digits than |x|^2 itself when the multipliers are large.
    squares = np.einsum("km,km->k", scaled, slopes + push @ cosines)
    lengths = np.abs(scaled).sum(1) + push.sum(1)
    weights[squares < (RESOLUTION * lengths) ** 2] = 0.0
    return weights


def harmonized_parts(gram: Array) -> Array:
    """A [m, m]: row i holds the weights of g_i projected onto {x : J x >= 0}; for two tasks in closed form.

    Examples
    --------
    >>> harmonized_parts(np.array([[1.0, -0.5], [-0.5, 2.0]])).tolist()
    [[1.0, 0.25], [0.5, 1.0]]
    """
    if len(gram) != 2:
        return project_onto_dual_cone(gram, np.eye(len(gram)))
    first, inner, second = float(gram[0, 0]), float(gram[0, 1]), float(gram[1, 1])
    if not (inner < 0.0 < first and second > 0.0):
        return np.eye(2)
    cosine = max(inner / math.sqrt(first) / math.sqrt(second), -1.0)
    if (1.0 - cosine) * (1.0 + cosine) < (RESOLUTION * (1.0 - cosine)) ** 2:
        return np.zeros((2, 2))
    return np.array([[1.0, -inner / second], [-inner / first, 1.0]])


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


def _multipliers(cosines: Array, scaled: Array, slopes: Array) -> Array:
    """V [k, m] >= 0 with slopes + V Ghat >= 0 and complementary, where slopes = U Ghat."""
    root, definite = factor(cosines)
    if definite and scaled.size > _BATCH_ENTRIES:
        push, solved = _exchange(cosines, slopes, np.abs(scaled).sum(1))
        left = np.flatnonzero(~solved)
    else:
        push, left = np.empty_like(scaled), np.arange(len(scaled))
    if left.size:
        push[left] = nonnegative_least_squares(root, -(scaled[left] @ root.T))
    return push


def _exchange(cosines: Array, slopes: Array, lengths: Array) -> tuple[Array, Mask]:
    """Block principal pivoting (Judice and Pires 1994), all rows at once; says which rows it solved.

    `lengths` [k] is the sum of the lengths combined in each point: the scale of the rounding in its slopes.

    Each round solves for v on the guessed support, then moves every index of the wrong sign to the other side.
    """
    push = np.zeros_like(slopes)
    rows = np.arange(len(slopes))
    support = _guess(cosines, slopes) if len(cosines) > _SMALL else slopes < 0.0
    noise = -8 * _EPS * lengths[:, None]
    for _ in range(_BATCH_ROUNDS):
        trial = _solve_on_support(cosines, slopes, support)
        wrong = np.where(support, trial, slopes + trial @ cosines) < noise
        push[rows] = trial
        left = wrong.any(1)
        rows = rows[left]
        if not rows.size:
            break
        slopes, noise, support = slopes[left], noise[left], (support ^ wrong)[left]
    solved = np.ones(len(push), dtype=bool)
    solved[rows] = False
    return np.maximum(push, 0.0, out=push), solved


def _guess(cosines: Array, slopes: Array) -> Mask:
    """A support [k, m] to begin with: what some steps of projected gradient descent leave positive.

    One product of matrices a step for all rows together: cheaper than the rounds of solving that it saves.
    """
    step = 1.5 / np.abs(cosines).sum(1).max()  # the row sums bound the largest eigenvalue, loosely
    shrink = np.eye(len(cosines)) - step * cosines
    pull = -step * slopes
    guess = np.maximum(pull, 0.0)
    for _ in range(_GUESS_STEPS):
        guess = guess @ shrink
        guess += pull
        np.maximum(guess, 0.0, out=guess)
    return np.asarray(guess > 0.0)


def _solve_on_support(cosines: Array, slopes: Array, support: Mask) -> Array:
    """V [k, m] with slopes + V Ghat = 0 on the support and V = 0 off it: one batched solve, padded by the identity."""
    if len(cosines) <= _MASKED:
        return _masked_solve(cosines, slopes, support)
    width = int(support.sum(1).max())
    rows = np.arange(len(slopes))[:, None]
    order = np.argsort(~support, axis=1, kind="stable")[:, :width]  # the support first
    blocks = cosines[order[:, :, None], order[:, None, :]]
    trial = np.zeros_like(slopes)
    trial[rows, order] = _masked_solve(blocks, slopes[rows, order], support[rows, order])
    return trial


def _masked_solve(blocks: Array, slopes: Array, support: Mask) -> Array:
    inside = support[:, :, None] & support[:, None, :]
    padded = np.where(inside, blocks, np.eye(support.shape[1]))
    return np.asarray(np.linalg.solve(padded, np.where(support, -slopes, 0.0)[:, :, None])[:, :, 0])
