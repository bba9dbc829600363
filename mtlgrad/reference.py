"""Each paper's optimisation problem as printed, on the Jacobian, solved by cvxpy: oracles for the exact solvers.

Obvious over fast: nothing here uses the Gramian, duality or a closed form. Rows are normalised only where the problem
does not change (a constraint g . x >= 0 is that of g / |g|), and everything is undone on return. Needs
``pip install mtlgrad[verify]``.

On well-conditioned problems the directions agree with the exact solvers to 1e-8 relative or better, but for Nash-MTL
and FairGrad, whose logarithms and powers cost Clarabel digits now and then (1e-5). Nearly opposite gradients leave the
direction less determined than the objective.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SMOOTH = 1e-12  # for strongly convex objectives; asked for more, Clarabel gives up on some of them
_CONIC = 1e-14  # out of reach, on purpose: a linear objective over a cone goes on until rounding stops it


def families(m: int, n: int, rng: np.random.Generator) -> dict[str, Array]:
    """Jacobians [m, n] that break solvers, by name; all rows random from `rng`.

    ``random``: independent normal rows. ``imbalanced``: norms spread evenly in logarithm over a ratio of 1e6.
    ``near_parallel``, ``near_opposite``: the last row is within about 1e-4 radians of the first, or of its opposite.
    ``rank_deficient``: rank max(1, m // 2). ``zero_row``: the last row is 0. A single row has no partner: for m = 1
    the two `near_` families are random rows.

    Examples
    --------
    >>> sorted(families(3, 5, np.random.default_rng(0)))
    ['imbalanced', 'near_opposite', 'near_parallel', 'random', 'rank_deficient', 'zero_row']
    """

    def rows() -> Array:
        return rng.standard_normal((m, n))

    def beside(sign: float) -> Array:
        jacobian = rows()
        if m > 1:
            jacobian[-1] = sign * jacobian[0] + 1e-4 * jacobian[-1]
        return jacobian

    rank = max(1, m // 2)
    zero_row = rows()
    zero_row[-1] = 0.0
    return {
        "random": rows(),
        "imbalanced": rows() * 10.0 ** rng.permutation(np.linspace(-3.0, 3.0, m))[:, None],
        "near_parallel": beside(1.0),
        "near_opposite": beside(-1.0),
        "rank_deficient": rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n)),
        "zero_row": zero_row,
    }


def harmonized_gradient(jacobian: Array, i: int) -> Array:
    """g~_i [n]: the nearest vector to g_i that conflicts with no gradient, min |x - g_i|^2 s.t. J x >= 0.

    Problem (7) of Huang, Song and Zhang (TPAMI 2024), whose single constraint is the other task's, with one
    constraint a task. For two tasks the two problems have the same solution.

    Examples
    --------
    >>> harmonized_gradient(np.array([[1.0, 0.0], [-1.0, 1.0]]), 0).round(6) + 0.0
    array([0.5, 0.5])
    """
    return _project(jacobian, jacobian[i])


def upgrad(jacobian: Array) -> Array:
    """d [n]: the mean of the projections of every gradient onto {x : J x >= 0} (Quinton and Rey 2024)."""
    return np.asarray(np.mean([_project(jacobian, row) for row in jacobian], axis=0))


def dualproj(jacobian: Array) -> Array:
    """d [n]: the projection of the mean gradient onto {x : J x >= 0} (Lopez-Paz and Ranzato 2017)."""
    return _project(jacobian, jacobian.mean(0))


def min_norm_point(jacobian: Array) -> Array:
    """d [n]: the shortest convex combination of the gradients, min |w J|^2 over the simplex.

    Sener and Koltun (2018), Eq. 3.

    Examples
    --------
    >>> min_norm_point(np.array([[1.0, 0.0], [0.0, 1.0]])).round(6)
    array([0.5, 0.5])
    """
    cp = _cvxpy()
    units, norms = _unit_rows(jacobian)
    if not norms.all():
        return np.zeros(jacobian.shape[1])
    amounts = cp.Variable(len(norms), nonneg=True)  # w_i |g_i|, in units of the shortest gradient
    share = norms.min() / norms
    _solve(cp.Minimize(cp.sum_squares(units.T @ amounts)), [share @ amounts == 1.0], _SMOOTH)
    return np.asarray(units.T @ amounts.value * norms.min())


def capped_min_norm_point(jacobian: Array, cap: float) -> Array:
    """d [n]: the shortest convex combination of the gradients with weights at most `cap` (Hu, Ho and Yu 2026).

    Examples
    --------
    >>> capped_min_norm_point(np.diag([1.0, 1.0, 10.0]), 0.45).round(4)
    array([0.45, 0.45, 1.  ])
    """
    cp = _cvxpy()
    weights = cp.Variable(len(jacobian), nonneg=True)
    peak = np.abs(jacobian).max() or 1.0
    _solve(
        cp.Minimize(cp.sum_squares((jacobian / peak).T @ weights)), [cp.sum(weights) == 1.0, weights <= cap], _SMOOTH
    )
    return np.asarray(jacobian.T @ weights.value)


def priority_direction(jacobian: Array, main: int, share: Array) -> Array:
    """d [n]: nearest to g_main with g_j . d >= share_j |g_j|^2 for every other j (Varam et al. 2026, Problem 1).

    Examples
    --------
    >>> priority_direction(np.array([[1.0, 0.0], [0.0, 1.0]]), 0, np.array([0.0, 0.5])).round(6)
    array([1. , 0.5])
    """
    cp = _cvxpy()
    direction = cp.Variable(jacobian.shape[1])
    units, norms = _unit_rows(jacobian)
    met = [units[j] @ direction >= share[j] * norms[j] for j in range(len(jacobian)) if j != main and norms[j] > 0]
    _solve(cp.Minimize(cp.sum_squares(direction - jacobian[main])), met, _SMOOTH)
    return np.asarray(direction.value)


def cagrad_direction(jacobian: Array, c: float) -> Array:
    """d [n] of CAGrad: max_d min_i g_i . d s.t. |d - g_0| <= c |g_0|, g_0 the mean (Liu et al. 2021, Eq. 3).

    Not unique at a Pareto-stationary point: there, the solution nearest to g_0.

    Examples
    --------
    >>> cagrad_direction(np.array([[1.0, 0.0], [0.0, 3.0]]), 0.5).round(4)
    array([1.2906, 1.5   ])
    """
    cp = _cvxpy()
    mean = jacobian.mean(0)
    length = float(np.linalg.norm(mean))
    if length == 0.0 or c == 0.0:
        return np.asarray(mean)
    units, norms = _unit_rows(jacobian)
    direction, worst = cp.Variable(len(mean)), cp.Variable()
    shortest = norms[norms > 0.0].min()
    served = [
        unit @ direction >= (shortest / norm) * worst if norm > 0.0 else worst <= 0.0
        for unit, norm in zip(units, norms, strict=True)
    ]
    _solve(cp.Maximize(worst), [*served, cp.norm(direction - mean / length) <= c], _CONIC)
    # The optimum lies where a ball touches a face: a gap of 1e-12 in the objective leaves 1e-6 to the direction. The
    # optimal value is that accurate, and the direction is the point nearest to g_0 that attains it.
    attained = float(worst.value)
    nearest = [
        unit @ direction >= (shortest / norm) * attained for unit, norm in zip(units, norms, strict=True) if norm > 0.0
    ]
    _solve(cp.Minimize(cp.sum_squares(direction - mean / length)), nearest, _SMOOTH)
    return np.asarray(direction.value * length)


def bargaining_direction(jacobian: Array, alpha: float = 1.0) -> Array:
    """d [n] of Nash-MTL (alpha = 1) and FairGrad: the alpha-fair compromise.

    Both papers maximise the welfare sum_i f(g_i . d) over a ball, with f = log for alpha = 1 (Navon et al. 2022,
    Sec. 3) and f(x) = x^(1 - alpha) / (1 - alpha) otherwise (Ban and Ji 2024, Sec. 3), and scale the solution to
    d = w J with G w = w^(-1/alpha). The penalty |d|^2 / 2 in place of the ball gives that d at once: it makes the
    stationarity condition d = sum_i g_i (g_i . d)^(-alpha), which is w J with w_i = (g_i . d)^(-alpha). Zero rows take
    no part.

    Examples
    --------
    >>> bargaining_direction(np.array([[1.0, 0.0], [0.0, 3.0]])).round(4)
    array([1., 1.])
    """
    cp = _cvxpy()
    units, norms = _unit_rows(jacobian[np.linalg.norm(jacobian, axis=1) > 0.0])
    level = float(np.exp(np.log(norms).mean()))
    direction = cp.Variable(jacobian.shape[1])
    gains = units @ direction
    shares = (norms / level) ** (1.0 - alpha)
    welfare = cp.sum(cp.log(gains)) if alpha == 1.0 else shares @ cp.power(gains, 1.0 - alpha) / (1.0 - alpha)
    _solve(cp.Maximize(welfare - cp.sum_squares(direction) / 2.0), [], _SMOOTH)
    found = _stationary(units, shares, alpha, direction.value)
    return np.asarray(found * level ** ((1.0 - alpha) / (1.0 + alpha)))


def _stationary(units: Array, shares: Array, alpha: float, near: Array) -> Array:
    """d = sum_i shares_i u_i (u_i . d)^(-alpha), by Newton's method from a solution to some digits.

    Where gains differ by thousands, what Clarabel reaches depends on the processor: 1e-6 on one, 1e-5 on another.
    """
    d = near
    for _ in range(4):
        gains = units @ d
        curvature = np.eye(len(d)) + (units.T * (alpha * shares * gains ** (-alpha - 1.0))) @ units
        step = np.linalg.solve(curvature, units.T @ (shares * gains**-alpha) - d)
        d = d + step if (units @ (d + step) > 0.0).all() else d
    return d


def _project(jacobian: Array, point: Array) -> Array:
    """min |x - point|^2 s.t. J x >= 0."""
    cp = _cvxpy()
    length = float(np.linalg.norm(point))
    if length == 0.0:
        return point
    units, norms = _unit_rows(jacobian)
    nearest = cp.Variable(len(point))
    binding = [units[norms > 0.0] @ nearest >= 0.0]
    _solve(cp.Minimize(cp.sum_squares(nearest - point / length)), binding, _SMOOTH)
    return np.asarray(nearest.value * length)


def _unit_rows(jacobian: Array) -> tuple[Array, Array]:
    """J with its non-zero rows scaled to length 1, and the lengths [m]."""
    peak = float(np.abs(jacobian).max()) or 1.0  # squares of tiny entries would underflow
    norms = np.linalg.norm(jacobian / peak, axis=1) * peak
    return jacobian / np.where(norms > 0.0, norms, 1.0)[:, None], norms


def _solve(objective: Any, constraints: list[Any], tolerance: float) -> None:
    """Solve in place; a problem on which Clarabel breaks down is tried again at up to 1e4 times the tolerance."""
    cp = _cvxpy()
    problem = cp.Problem(objective, constraints)
    for wanted in (tolerance, 1e2 * tolerance, 1e4 * tolerance):
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):  # a failed solve takes logarithms of anything
            # Asked for more digits than there are, Clarabel stops at the last good iterate and calls it inaccurate.
            warnings.filterwarnings("ignore", message="Solution may be inaccurate")
            try:
                problem.solve(solver=cp.CLARABEL, tol_gap_abs=wanted, tol_gap_rel=wanted, tol_feas=wanted)
            except cp.SolverError:
                continue
        if problem.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE) and math.isfinite(problem.value):
            return
    raise ArithmeticError(f"Clarabel ended with status {problem.status!r}; the oracle has no answer here")


def _cvxpy() -> Any:
    try:
        import cvxpy
    except ImportError as error:
        raise ImportError("mtlgrad.reference needs cvxpy and clarabel: pip install mtlgrad[verify]") from error
    return cvxpy
