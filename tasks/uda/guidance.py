"""ParetoDA's weights: the linear programmes that a held-out loss guides, on inner products of gradients alone."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

Array = np.ndarray
_END = 1e-3  # the authors'


def guided(gramian: Array, along: Array) -> Array | None:
    """Weights w of the losses whose direction follows the held-out loss best; None: no weights meet the conditions.

    maximize a'w over the simplex, with (G w)_j >= 0 for the losses that agree with the held-out loss most (a_j = max a
    > 0), and (G w)_j >= a_j for those that do not agree with it (a_j <= 0): they may be given up as far as following
    the held-out loss gives them up. Where none agrees, (G w)_j >= 0 for all. Lv et al., Pareto Domain Adaptation,
    NeurIPS 2021; the programme is the one of the authors' code.

    Parameters
    ----------
    gramian:
        G, [m, m], inner products of the losses' gradients, float64.
    along:
        a, [m], their inner products with the gradient of the held-out loss.

    Examples
    --------
    >>> guided(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.5, 1.0])).round(6).tolist()
    [0.0, 1.0]
    """
    if (along > 0).any():
        least = np.where(along > 0, -np.inf, along)
        least[along == along.max()] = 0
    else:
        least = np.zeros_like(along)
    return _on_simplex(along, gramian, least)


def dominating(gramian: Array, along: Array) -> Array | None:
    """Weights w that descend most in sum without raising a loss; None: no weights meet the conditions.

    maximize 1'G w over the simplex, with G w >= 0 and a'w >= min(max a, 0): nor is the held-out loss raised, where that
    can be helped. For a held-out loss that has come to its end. Arguments and source as of `guided`.

    >>> dominating(np.array([[1.0, 0.0], [0.0, 4.0]]), np.array([0.5, 1.0])).round(6).tolist()
    [0.0, 1.0]
    """
    conditions = np.vstack([gramian, along])
    least = np.append(np.zeros_like(along), min(along.max(), 0.0))
    return _on_simplex(gramian.sum(axis=0), conditions, least)


def weights_of(gramian: Array, along: Array, gap: float) -> Array | None:
    """`guided` while the held-out loss is `gap` > 1e-3 above its end, then `dominating`; [m], of mean 1.

    None too where a gradient is not finite.

    >>> weights_of(np.eye(2), np.array([0.5, 1.0]), gap=0.7).round(6).tolist()
    [0.0, 2.0]
    """
    if not (np.isfinite(gramian).all() and np.isfinite(along).all()):
        return None
    found = (guided if gap > _END else dominating)(gramian, along)
    return None if found is None else found * len(found)


def _on_simplex(gain: Array, conditions: Array, least: Array) -> Array | None:
    """argmax gain'w over w >= 0, 1'w = 1, conditions @ w >= least."""
    scale = max(np.abs(conditions).max(), np.abs(gain).max()) or 1.0  # the solver's tolerances are absolute
    asked = np.isfinite(least)
    found = linprog(
        -gain / scale,
        A_ub=-conditions[asked] / scale,
        b_ub=-least[asked] / scale,
        A_eq=np.ones((1, len(gain))),
        b_eq=[1.0],
        bounds=(0, None),
        method="highs",
    )
    return np.asarray(found.x) if found.success else None
