"""Mean and sample deviation of a few scores: the rounding of equal scores is never taken for a spread of theirs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

_ROUNDING = 8 * np.finfo(float).eps  # of a score, and of what is counted from it; relative


def evened(values: ArrayLike, scale: float | None = None) -> np.ndarray:
    """The values; where they agree up to the rounding of numbers as large as `scale`, the first one throughout.

    Without a scale, that is the largest of them. A value of the size of this rounding is 0. Where one is infinite or
    NaN, all are left as they are.

    >>> evened([0.1 + 0.2 - 0.1, 0.2, 0.2]).tolist()
    [0.20000000000000004, 0.20000000000000004, 0.20000000000000004]
    >>> evened([1e-17, 0.0], scale=1.0).tolist(), evened([1.0, 1.5]).tolist()
    ([0.0, 0.0], [1.0, 1.5])
    """
    known = np.asarray(values, dtype=float)
    if known.size == 0:
        return known
    size = float(np.max(np.abs(known))) if scale is None else scale
    if not np.isfinite(known).all() or np.ptp(known) > _ROUNDING * size:
        return known
    first = float(known[0])
    return np.full_like(known, 0.0 if abs(first) <= _ROUNDING * size else first)


def mean(values: ArrayLike) -> float:
    """Of at least one value; of equal ones, that value and no rounding beside it.

    >>> mean([0.1, 0.1, 0.1]), mean([1.0, 2.0])
    (0.1, 1.5)
    """
    known = evened(values)
    return float(known[0] if np.ptp(known) == 0 else known.mean())


def deviation(values: ArrayLike) -> float:
    """Sample standard deviation (ddof = 1) of at least two values; of equal ones, 0 and no rounding beside it.

    >>> deviation([0.1, 0.1, 0.1]), deviation([1.0, 3.0]) == 2**0.5
    (0.0, True)
    """
    known = evened(values)
    return 0.0 if np.ptp(known) == 0 else float(known.std(ddof=1))
