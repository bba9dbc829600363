"""Mean and sample deviation of a few scores: the rounding of equal scores is never taken for a spread of theirs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

ROUNDING = 2.0**-20
"""Of a score, relative to its size: eight units in the last place of single precision, in which networks are judged.

Scores that are equal up to this count as equal, whatever they were computed in. To take a real difference of a
millionth for none costs a comparison its verdict; to take rounding for a spread makes three seeds certain of anything.
"""


def evened(values: ArrayLike, sizes: ArrayLike | None = None) -> np.ndarray:
    """The values; where all of them may be one number but for rounding, that number throughout.

    Arguments: values [n], and the size of what each was computed from, [n] or one for all: of a difference, the larger
    of the two scores. Without sizes, the values' own. The number is the value of the smallest size, or 0 where all may
    be. Where a value is infinite or NaN, all are left as they are.

    >>> evened([0.1 + 0.2 - 0.1, 0.2, 0.2]).tolist(), evened([1e-9, 0.0], sizes=1.0).tolist()
    ([0.2, 0.2, 0.2], [0.0, 0.0])
    >>> evened([1.0, 1.5]).tolist()
    [1.0, 1.5]
    """
    known = np.asarray(values, dtype=float)
    if known.size == 0 or not np.isfinite(known).all():
        return known
    rooms = ROUNDING * np.broadcast_to(np.abs(known if sizes is None else np.asarray(sizes, dtype=float)), known.shape)
    if np.max(known - rooms) > np.min(known + rooms):
        return known
    common = 0.0 if (np.abs(known) <= rooms).all() else float(known[np.argmin(rooms)])
    return np.full_like(known, common)


def differences(one: ArrayLike, other: ArrayLike) -> np.ndarray:
    """one - other [n], with the rounding of the scores themselves taken out of equal differences.

    >>> differences([85.3, 80.3], [80.1, 75.1]).tolist() == [80.3 - 75.1] * 2
    True
    """
    ours, theirs = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    return evened(ours - theirs, np.maximum(np.abs(ours), np.abs(theirs)))


def tied(values: ArrayLike) -> np.ndarray:
    """The values, of any shape, with neighbours that differ by rounding made equal; NaN stays NaN.

    >>> tied([0.1 + 0.2, 0.5, 0.3]).tolist()
    [0.3, 0.5, 0.3]
    """
    known = np.asarray(values, dtype=float)
    flat = known.ravel()
    order = np.argsort(flat, kind="stable")  # NaN comes last
    ascending = flat[order]
    rooms = ROUNDING * np.nan_to_num(np.maximum(np.abs(ascending[1:]), np.abs(ascending[:-1])), posinf=0.0)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        apart = np.diff(ascending) > rooms
    starts = np.concatenate([[True], apart | np.isnan(ascending[1:])]) if flat.size else np.empty(0, dtype=bool)
    firsts = np.maximum.accumulate(np.where(starts, np.arange(flat.size), 0))
    found = np.empty_like(flat)
    found[order] = ascending[firsts]
    return found.reshape(known.shape)


def mean(values: ArrayLike) -> float:
    """Of at least one value; of equal ones, that value and no rounding beside it.

    >>> mean([0.1, 0.1, 0.1]), mean([1.0, 2.0])
    (0.1, 1.5)
    """
    known = evened(values)
    if not np.isfinite(known).all():
        return float(known.mean())
    scale = _scale(known)  # the sum of huge numbers is infinite
    return float(known[0] if np.ptp(known / scale) == 0 else np.mean(known / scale) * scale)


def deviation(values: ArrayLike) -> float:
    """Sample standard deviation (ddof = 1) of at least two values; of equal ones, 0 and no rounding beside it.

    Infinite where it is too large for a number.

    >>> deviation([0.1, 0.1, 0.1]), deviation([1.0, 3.0]) == 2**0.5
    (0.0, True)
    """
    known = evened(values)
    if not np.isfinite(known).all():
        return float(known.std(ddof=1))
    scale = _scale(known)  # the squares of huge numbers are infinite, and those of tiny ones 0
    return 0.0 if np.ptp(known / scale) == 0 else float(np.std(known / scale, ddof=1)) * scale


def _scale(known: np.ndarray) -> float:
    """A power of two, by which nothing is rounded, about as large as the largest."""
    return float(2.0 ** (int(np.frexp(np.max(np.abs(known)))[1]) - 1))
