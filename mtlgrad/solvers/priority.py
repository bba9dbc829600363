"""The nearest direction to one gradient that serves every other by a promised amount: least-distance programming."""

from __future__ import annotations

import numpy as np

from mtlgrad.solvers.nnls import nonnegative_least_squares
from mtlgrad.solvers.scaling import RESOLUTION, Array, factor, unit_diagonal


def priority_weights(gram: Array, main: int, share: Array) -> tuple[Array, bool]:
    """Weights of the direction nearest to g_main with g_j . d >= share_j |g_j|^2 for every other j.

    min |d - g_main|^2 under these constraints (Priority-Constrained Descent, Problem 1). With x = d - g_main and unit
    vectors u_j it is min |x| subject to u_j . x >= h_j, h_j = share_j |g_j| - u_j . g_main: least-distance
    programming, whose multipliers are the non-negative least squares solution v of [U; h^T] v = (0, 1), divided by
    1 - h . v (Lawson and Hanson 1974, ch. 23). A residual of 0 says that no x satisfies them all.

    Zero gradients other than the main one constrain nothing.

    Parameters
    ----------
    gram:
        G [m, m], symmetric positive semi-definite, float64, finite, any scale.
    main:
        Index of the gradient to stay near.
    share:
        [m], non-negative; the entry of the main gradient is not read.

    Returns
    -------
    w [m] with w_main = 1, and whether the constraints can be met; w is that of g_main alone where they cannot.

    Examples
    --------
    >>> gram = np.array([[1.0, -0.5], [-0.5, 1.0]])
    >>> priority_weights(gram, 0, np.array([0.0, 0.25]))
    (array([1.  , 0.75]), True)
    """
    m = len(gram)
    weights = np.zeros(m)
    weights[main] = 1.0
    norms = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    others = np.flatnonzero((norms > 0.0) & (np.arange(m) != main))
    if not others.size:
        return weights, True
    lengths = norms[others]
    height = share[others] * lengths - gram[others, main] / lengths
    size = float(np.abs(height).max())
    if height.max() <= 0.0 or size == 0.0:
        return weights, True
    cosines, _, _ = unit_diagonal(gram[np.ix_(others, others)])
    root, _ = factor(cosines)
    height = height / size
    system = np.vstack([root, height])
    target = np.zeros((1, len(system)))
    target[0, -1] = 1.0
    push = nonnegative_least_squares(system, target)[0]
    left = 1.0 - float(height @ push)
    aside = root @ push
    if float(np.sqrt(aside @ aside + left**2)) < RESOLUTION * (1.0 + push.sum()) or left <= 0.0:
        return weights, False
    weights[others] = push / left * size / lengths
    return weights, True


def priority_residual(gram: Array, main: int, share: Array, weights: Array) -> float:
    """How far w is from `priority_weights`, where they exist: 0 at the optimum, dimensionless.

    The largest violation of the optimality conditions: w_main = 1, w_j >= 0, every constraint met (relative to the
    lengths combined and promised), and a w_j > 0 only where its constraint is tight.

    Examples
    --------
    >>> gram = np.array([[1.0, -0.5], [-0.5, 1.0]])
    >>> priority_residual(gram, 0, np.array([0.0, 0.25]), np.array([1.0, 0.75]))
    0.0
    >>> priority_residual(gram, 0, np.array([0.0, 0.25]), np.array([1.0, 0.0])) > 0.1
    True
    """
    norms = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    others = np.flatnonzero((norms > 0.0) & (np.arange(len(gram)) != main))
    lengths = norms[others]
    reach = float(np.abs(weights) @ norms) + float((share[others] * lengths).max(initial=0.0))
    wrong = abs(float(weights[main]) - 1.0)
    if reach == 0.0 or not others.size:
        return wrong
    slack = ((gram @ weights)[others] / lengths - share[others] * lengths) / reach
    amounts = weights[others] * lengths / reach
    return float(max(wrong, -slack.min(), -amounts.min(), np.abs(slack * amounts).max()))
