"""Trade-offs between metrics: which methods no other one beats on everything, and how much two metrics cover."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mtlgrad.compare.statistics.pairs import Direction

Array = npt.NDArray[np.float64]


def non_dominated(points: npt.ArrayLike, directions: Sequence[Direction]) -> list[int]:
    """Which points no other point dominates: at least as good on every metric, and better on one. In order.

    Arguments: points [k, metrics]; a direction for each metric. Equal points do not dominate each other.

    >>> non_dominated([[80.0, 2.0], [70.0, 1.0], [60.0, 1.5]], ["max", "min"])
    [0, 1]
    """
    values = _oriented(points, directions)
    return [
        k for k, point in enumerate(values) if not ((values >= point).all(axis=1) & (values > point).any(axis=1)).any()
    ]


def hypervolume(points: npt.ArrayLike, reference: Sequence[float], directions: Sequence[Direction]) -> float:
    """The area that points cover in the plane of two metrics, up to a reference point that is worse than they are.

    Points that do not beat the reference on both metrics add nothing. The area is in the product of the two units, so
    that it compares only sets of points with one and the same reference.

    >>> hypervolume([[3.0, 1.0], [1.0, 3.0], [0.5, 0.5]], [0.0, 0.0], ["max", "max"])
    5.0
    """
    values = _oriented(points, directions)
    if values.shape[1] != 2:
        raise ValueError(f"points must have two metrics, got {values.shape[1]}")
    corner = _oriented([reference], directions)[0]
    inside = values[(values > corner).all(axis=1)] - corner
    area, height = 0.0, 0.0
    for x, y in inside[np.lexsort((-inside[:, 1], -inside[:, 0]))]:  # from the best of the first metric down
        if y > height:
            area += float(x * (y - height))
            height = float(y)
    return area


def _oriented(points: npt.ArrayLike, directions: Sequence[Direction]) -> Array:
    """Points with more being better on every metric."""
    values = np.asarray(points, dtype=float)
    if values.ndim != 2 or values.shape[1] != len(directions):
        raise ValueError(f"points must have the shape [points, {len(directions)}], got {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError("points must be finite")
    unknown = [one for one in directions if one not in ("max", "min")]
    if unknown:
        raise ValueError(f"directions must be 'max' or 'min', got {unknown[0]!r}")
    return values * np.where([one == "max" for one in directions], 1.0, -1.0)
