"""The shortest convex combination of the gradients in which no gradient has more than a capped share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtlgrad.solvers.scaling import RANK_TOLERANCE, Array, factor, unit_diagonal
from mtlgrad.solvers.simplex import min_norm_weights

_ROUNDS = 40  # changes of the active set per task; typical problems need one or two
_NOISE = 1e-13  # a difference of slopes above it, in units of the lengths combined, has the right sign
_SNAP = 1e-14  # closer to a bound than this share of the way, a weight is at the bound

Sides = NDArray[np.int64]  # [m]: -1 held at 0, 1 held at the cap, 0 free


def capped_min_norm_weights(gram: Array, cap: float) -> Array:
    """min |w J|^2 over the simplex with every w_i <= cap, by an active-set method (Nocedal and Wright 2006, ch. 16).

    In units of the gradients' own lengths, so that norms may differ by many orders of magnitude. From cap = 1 on this
    is the min-norm point; at cap = 1/m it is the mean. Zero gradients take as much of the weight as they may. Should
    rounding keep the search from ending, the weights are those reached, and `capped_residual` tells.

    Parameters
    ----------
    gram:
        G [m, m], symmetric positive semi-definite, float64, finite, any scale.
    cap:
        At least 1/m.

    Returns
    -------
    w [m], in [0, cap], summing to 1.

    Raises
    ------
    ValueError
        If cap is below 1/m.

    Examples
    --------
    >>> capped_min_norm_weights(np.diag([1.0, 1.0, 100.0]), 0.45).round(12).tolist()
    [0.45, 0.45, 0.1]
    """
    m = len(gram)
    if cap * m < 1.0 - 1e-12:
        raise ValueError(f"cap must be at least 1/m = {1 / m:g}, got {cap!r}")
    if cap >= 1.0:
        return min_norm_weights(gram)
    if cap * m <= 1.0 + 1e-12:
        return np.full(m, 1.0 / m)
    cosines, norms, live = unit_diagonal(gram)
    weights, dead = np.zeros(m), m - int(np.count_nonzero(live))
    if dead * cap >= 1.0:
        weights[~live] = 1.0 / dead
        return weights
    weights[~live] = cap
    weights[live] = _solve(cosines[np.ix_(live, live)], norms[live], cap, 1.0 - dead * cap)
    return weights


def capped_residual(gram: Array, cap: float, weights: Array) -> float:
    """How far w is from `capped_min_norm_weights`: 0 at the optimum, dimensionless.

    No weight can move from one task to another and shorten w J: (G w)_i >= (G w)_j for every i below the cap and j
    above 0. The largest violation relative to the lengths (|g_i| + |g_j|) sum_k w_k |g_k|; leaving the set counts too.

    Examples
    --------
    >>> gram = np.diag([1.0, 1.0, 100.0])
    >>> capped_residual(gram, 0.45, np.array([0.45, 0.45, 0.1])) < 1e-15
    True
    >>> capped_residual(gram, 0.45, np.full(3, 1 / 3)) > 0.1
    True
    """
    norms = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    slopes = gram @ weights
    scale = (norms[:, None] + norms) * (weights @ norms)
    gain = (slopes - slopes[:, None]) / np.where(scale > 0.0, scale, 1.0)
    movable = (weights < cap)[:, None] & (weights > 0.0)
    gap = float(np.where(movable, gain, 0.0).max())
    return float(max(gap, -weights.min(), weights.max() - cap, abs(weights.sum() - 1.0)))


def _solve(cosines: Array, norms: Array, cap: float, total: float) -> Array:
    """w [m] in [0, cap] with the sum `total` that makes |w J| least, for non-zero gradients."""
    m = len(norms)
    order = norms.argsort(kind="stable")  # the shortest first: its slope is the best known
    units = factor(cosines)[0][:, order]
    lengths = norms[order] / norms[order[0]]
    price = 1.0 / lengths  # of a unit of y_i = w_i |g_i| / min |g|
    top = cap * lengths
    amounts = total / m * lengths
    side: Sides = np.zeros(m, dtype=np.int64)
    for _ in range(_ROUNDS * m):
        free = np.flatnonzero(side == 0)
        wanted = _on_face(units, price, np.where(side == 0, 0.0, amounts), free, total)
        step, blocking = _first_bound(amounts[free], wanted, top[free])
        if blocking is not None:
            amounts[free] += step * (wanted - amounts[free])
            at = free[blocking]
            side[at] = 1 if wanted[blocking] > amounts[at] else -1
            amounts[at] = top[at] if side[at] == 1 else 0.0
            continue
        amounts[free] = wanted
        # What is free and at a bound is held there, so that a release always moves: no turn is taken twice.
        low, high = amounts <= _SNAP * top, amounts >= (1.0 - _SNAP) * top
        side[low], side[high] = -1, 1
        amounts[low], amounts[high] = 0.0, top[high]
        released = _releases((units @ amounts) @ units * lengths, lengths, side, float(amounts.sum()))
        if not released:
            break
        side[released] = 0
    weights = np.clip(amounts * price, 0.0, cap)
    weights[side == 1] = cap
    loose = (weights > 0.0) & (weights < cap)
    if loose.any():  # the sum, to rounding
        weights[loose] += (total - weights.sum()) * weights[loose] / weights[loose].sum()
    ordered = np.empty(m)
    ordered[order] = weights
    return ordered


def _releases(slopes: Array, lengths: Array, side: Sides, combined: float) -> list[int]:
    """The tasks to take off their bounds, by the slopes (G w)_i; none at the optimum.

    Beside the free ones, which have one slope, a task at 0 should have more and one at the cap has less or equal. With
    none free there is no such slope to compare with: the sum then lets nothing move but a pair, one up and one down.
    """
    free = np.flatnonzero(side == 0)
    if free.size:
        pull = side * (slopes - slopes[free[0]]) / (lengths + lengths[free[0]])
        worst = int(pull.argmax())
        return [worst] if pull[worst] > _NOISE * combined else []
    up, down = np.flatnonzero(side == -1), np.flatnonzero(side == 1)
    gain = (slopes[down] - slopes[up, None]) / (lengths[down] + lengths[up, None])
    i, j = np.unravel_index(gain.argmax(), gain.shape)
    return [int(up[i]), int(down[j])] if gain[i, j] > _NOISE * combined else []


def _on_face(units: Array, price: Array, held: Array, free: NDArray[np.intp], total: float) -> Array:
    """The best amounts of the free ones beside those held [m] (0 for the free), bounds aside.

    The shortest free one takes what the others leave of the sum; for the others that is least squares on the unit
    vectors themselves, at half the digits' loss of G.
    """
    if not free.size:
        return np.empty(0)
    pivot, rest = free[0], free[1:]
    wanted = np.empty(len(free))
    wanted[0] = (total - float(price @ held)) / price[pivot]
    if rest.size:
        ratio = price[rest] / price[pivot]
        along = units[:, pivot]
        columns = units[:, rest] - along[:, None] * ratio
        size = np.sqrt(np.einsum("pk,pk->k", columns, columns))
        size[size == 0.0] = 1.0
        target = units @ held + along * wanted[0]
        wanted[1:] = np.linalg.lstsq(columns / size, -target, rcond=RANK_TOLERANCE)[0] / size
        wanted[0] -= float(ratio @ wanted[1:])
    return wanted


def _first_bound(now: Array, wanted: Array, top: Array) -> tuple[float, int | None]:
    """How far towards `wanted` the bounds let go, and which of them is met; None: all the way."""
    move = wanted - now
    room = np.where(move > 0.0, top - now, now)
    away = np.abs(move)
    slack = 1e-14 * (np.abs(wanted) + top)
    out = (wanted > top + slack) | (wanted < -slack)
    if not out.any():
        return 1.0, None
    ratio = np.where(out, np.maximum(room, 0.0) / np.where(away > 0.0, away, 1.0), np.inf)
    first = int(ratio.argmin())
    return min(float(ratio[first]), 1.0), first
