"""Non-negative least squares: SciPy's compiled active-set solver, certified, with a careful one behind it."""

from __future__ import annotations

import numpy as np
import scipy.optimize

from mtlgrad.solvers.scaling import Array, Mask

_CERTIFIED = 1e-11  # optimality gap, relative to the lengths combined, that a compiled answer may have
_ROUNDS = 30  # exchanges per column; SciPy's default of 3 can fall short with parallel columns


def nonnegative_least_squares(matrix: Array, targets: Array) -> Array:
    """X [k, m] >= 0 whose rows minimise |A x - b|^2, for the rows b of `targets` [k, p] and A = `matrix` [p, m].

    The columns of A are of comparable length. Exact, by active sets (Lawson and Hanson 1974, ch. 23).

    SciPy's solver has had releases that return a point that is not optimal (1.15 to 1.17, where the gradient is zero
    but for rounding: scipy issue 25389) or raise on valid input (1.12), so every answer is checked against the
    optimality conditions and, failing them, computed again with a tolerance on the gradient.

    Examples
    --------
    >>> nonnegative_least_squares(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, -3.0]])).tolist()
    [[2.0, 0.0]]
    """
    rounds = _ROUNDS * matrix.shape[1]
    answers = np.empty((len(targets), matrix.shape[1]))
    for i, target in enumerate(targets):
        try:
            answers[i] = scipy.optimize.nnls(matrix, target, maxiter=rounds)[0]
        except (RuntimeError, ValueError):  # out of rounds, or SciPy 1.12's slip; the certificate refuses a NaN
            answers[i] = np.nan
    slopes = (answers @ matrix.T - targets) @ matrix
    reach = answers.sum(1) + np.sqrt(np.einsum("kp,kp->k", targets, targets))
    gap = np.maximum(-slopes.min(1), np.abs(np.einsum("km,km->k", answers, slopes)) / np.where(reach > 0, reach, 1.0))
    for i in np.flatnonzero(~(gap <= _CERTIFIED * reach)).tolist():
        answers[i] = lawson_hanson(matrix, targets[i])
    return answers


def lawson_hanson(matrix: Array, target: Array) -> Array:
    """One row of `nonnegative_least_squares` in plain NumPy: slower, and deaf to gradients at the rounding level.

    Examples
    --------
    >>> lawson_hanson(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([2.0, -3.0])).tolist()
    [2.0, 0.0]
    """
    m = matrix.shape[1]
    answer, passive, refused = np.zeros(m), np.zeros(m, dtype=bool), np.zeros(m, dtype=bool)
    noise = m * float(np.finfo(np.float64).eps)
    for _ in range(_ROUNDS * m):
        pull = matrix.T @ (target - matrix @ answer)
        pull[passive | refused] = 0.0
        entering = int(np.argmax(pull))
        if pull[entering] <= noise * (answer.sum() + np.linalg.norm(target)):
            break
        passive[entering] = True
        trial = _free(matrix, target, passive)
        if trial[entering] <= 0.0:  # only rounding said that it should enter
            passive[entering], refused[entering] = False, True
            continue
        while (trial[passive] <= 0.0).any():
            # Go towards the trial until the first weight vanishes, and hold that one at zero.
            shrinking = passive & (trial <= 0.0)
            step = float((answer[shrinking] / (answer[shrinking] - trial[shrinking])).min())
            answer += step * (trial - answer)
            passive &= answer > 0.0
            answer[~passive] = 0.0
            trial = _free(matrix, target, passive)
        answer = trial
        refused[:] = False
    return answer


def _free(matrix: Array, target: Array, passive: Mask) -> Array:
    """The unconstrained least-squares solution on the passive columns, 0 elsewhere."""
    answer = np.zeros(matrix.shape[1])
    answer[passive] = np.linalg.lstsq(matrix[:, passive], target, rcond=None)[0]
    return answer
