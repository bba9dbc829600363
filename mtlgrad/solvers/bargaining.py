"""The bargaining equation G w = w^(-1/alpha) of Nash-MTL and FairGrad, from the Gramian alone."""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dposv

from mtlgrad.solvers.scaling import RESOLUTION, Array, unit_diagonal

_ROUNDS = 1000  # 5 to 30 are usual, hundreds occur for alpha > 2 next to a Pareto-stationary point
_ROUNDING = 4 * float(np.finfo(np.float64).eps)  # an equation gap below it is noise
_LOOSE = 1e-3  # relative step that shows w to be undetermined where the gap is noise (measured)
_SETTLED = 1e-8  # relative step after which the next one, quadratically smaller, is below the rounding


def bargaining_weights(gram: Array, alpha: float = 1.0) -> tuple[Array, bool]:
    """The positive weights with G w = w^(-1/alpha), and whether there are any.

    alpha = 1 is the Nash bargaining solution (Navon et al. 2022, Claim 3.1), other alpha the alpha-fair one (Ban and Ji
    2024, Eq. 4). w is the minimum of the strictly convex 1/2 w^T G w - sum_k int w_k^(-1/alpha) dw_k, found by
    Newton's method on unit-diagonal G with steps damped by the largest relative change, which for alpha = 1 is at
    least the damping that self-concordance asks for: it converges from anywhere without a line search.

    A Pareto-stationary point (w >= 0, w != 0, G w = 0) has no solution: w would grow without bound. It is
    recognised when w combines to less than `RESOLUTION` times its lengths, or grows without end while the gain
    (G w)_k of some task is all rounding; the answer is then w = 0, False. Zero gradients take no part and get weight 0.

    Parameters
    ----------
    gram:
        G [m, m], symmetric positive semi-definite, float64, finite, any scale.
    alpha:
        Fairness, positive.

    Returns
    -------
    w [m] and whether it solves the equation (on the non-zero gradients).

    Examples
    --------
    >>> weights, solved = bargaining_weights(np.array([[1.0, 0.0], [0.0, 4.0]]))
    >>> weights.tolist(), solved
    ([1.0, 0.5], True)
    >>> bargaining_weights(np.array([[1.0, -2.0], [-2.0, 4.0]]))
    (array([0., 0.]), False)
    """
    cosines, norms, live = unit_diagonal(gram)
    if not live.all():
        weights = np.zeros_like(norms)
        solved = False
        if live.any():
            weights[live], solved = bargaining_weights(gram[np.ix_(live, live)], alpha)
        return weights, solved

    # In y = |g| w the equation reads Ghat y = a y^(-1/alpha) with a = |g|^(1/alpha - 1): constant for alpha = 1.
    power = 1.0 / alpha
    logs = (power - 1.0) * np.log(norms)
    level = logs.mean()
    sizes = np.exp(logs - level)
    damping = max(1.0, (1.0 + power) / 2.0)
    # The solution for orthogonal gradients, then the best multiple of it.
    scaled = sizes ** (1.0 / (1.0 + power))
    pull = cosines @ scaled
    along = float(scaled @ pull)
    if _stationary(along, scaled):
        return np.zeros_like(norms), False
    grow = (float(sizes @ scaled ** (1.0 - power)) / along) ** (1.0 / (1.0 + power))
    scaled, pull = grow * scaled, grow * pull
    for _ in range(_ROUNDS):
        target = sizes * scaled**-power
        gap = target - pull
        hessian = cosines.copy()
        hessian.flat[:: len(norms) + 1] += power * target / scaled
        _, step, failed = dposv(hessian, gap, overwrite_a=True)
        if failed:
            break
        change = float(np.abs(step / scaled).max())
        if change < 0.25 / damping:
            scaled = scaled + step
            noise = _ROUNDING * float(scaled.sum())
            if change < _SETTLED or (np.abs(gap) <= _ROUNDING * target + noise).all():
                if change > _LOOSE and target.min() < noise:  # a gain that cancelled down to rounding
                    break
                return scaled * np.exp(level / (1.0 + power)) / norms, True
        else:
            scaled = scaled + step / (1.0 + damping * change)
        pull = cosines @ scaled
        if _stationary(float(scaled @ pull), scaled):
            break
    return np.zeros_like(norms), False


def bargaining_residual(gram: Array, weights: Array, alpha: float = 1.0) -> float:
    """How far w is from G w = w^(-1/alpha): 0 at the solution, dimensionless.

    max_k |(G w)_k - w_k^(-1/alpha)| / ((|G| w)_k + w_k^(-1/alpha)) over the non-zero gradients: the smallest
    relative change of the entries of G for which w is exact (Oettli and Prager 1964). Infinite if some w_k <= 0.

    Examples
    --------
    >>> bargaining_residual(np.array([[1.0, 0.0], [0.0, 4.0]]), np.array([1.0, 0.5]))
    0.0
    """
    cosines, norms, live = unit_diagonal(gram)
    if not (weights[live] > 0.0).all():
        return float("inf")
    scaled = (weights * norms)[live]
    target = weights[live] ** (-1.0 / alpha) / norms[live]
    cosines = cosines[np.ix_(live, live)]
    gap = np.abs(cosines @ scaled - target) / (np.abs(cosines) @ scaled + target)
    return float(gap.max(initial=0.0))


def _stationary(square: float, scaled: Array) -> bool:
    """Whether the combination, of squared length `square`, is too short to be told from 0."""
    return square < (RESOLUTION * float(scaled.sum())) ** 2
