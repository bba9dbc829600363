"""Average precision as the VOC development kit defines it, at any IoU thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtlgrad.compare import checks
from tasks.detection.verdicts import Detections, Truth, judge, surest_first

THRESHOLDS = tuple(k / 20 for k in range(10, 20))
"""IoU .50:.05:.95, each the float64 nearest to its decimal, as an IoU of 3 / 5 is the one nearest to 0.6."""

INTERPOLATIONS = ("voc07", "area")
"""How a curve becomes a number, see `average_precision`."""

_COLUMNS = {f"ap{percent}": THRESHOLDS.index(percent / 100) for percent in (50, 60, 70, 80, 90)}


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall of one class, one column for each of its k detections in order of falling score.

    precision, recall: [thresholds, k]. A detection of a difficult object repeats the column before it; before the
    first that counts, both are 0. Recall is NaN without anything to find. positives: how much there is to find.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    positives: int


def precision_recall(
    detections: Sequence[Detections], truths: Sequence[Truth], *, classes: int, thresholds: Sequence[float]
) -> list[Curve]:
    """Precision and recall as ever less sure detections are let in, for each class.

    What is right and what is wrong: see `tasks.detection.verdicts.judge`, whose arguments and errors these are.

    >>> truth = Truth(np.array([[0.0, 0.0, 4.0, 4.0]]), np.array([0]), np.array([False]))
    >>> boxes = np.array([[0.0, 0.0, 4.0, 3.0], [0.0, 0.0, 4.0, 4.0]])
    >>> found = Detections(boxes, np.array([0.9, 0.8]), np.array([0, 0]))
    >>> curve = precision_recall([found], [truth], classes=1, thresholds=[0.5, 0.9])[0]
    >>> curve.precision  # at IoU 0.5 the first box claims the truth; at 0.9 it is too small
    array([[1. , 0.5],
           [0. , 0.5]])
    >>> curve.recall
    array([[1., 1.],
           [0., 1.]])
    """
    right, ignored = judge(detections, truths, classes=classes, thresholds=thresholds)
    order = surest_first(detections)
    labels = np.concatenate([np.zeros(0, np.int64), *(one.labels for one in detections)])[order]
    sought = np.concatenate([np.zeros(0, np.int64), *(truth.labels[~truth.difficult] for truth in truths)])
    curves = []
    for one in range(classes):
        columns, positives = order[labels == one], int((sought == one).sum())
        true, counted = right[:, columns].cumsum(axis=1), (~ignored[:, columns]).cumsum(axis=1)
        recall = true / positives if positives else np.full(true.shape, np.nan)
        curves.append(Curve(true / np.maximum(counted, 1), recall, positives))
    return curves


def average_precision(
    detections: Sequence[Detections],
    truths: Sequence[Truth],
    *,
    classes: int,
    thresholds: Sequence[float],
    interpolation: str,
) -> NDArray[np.float64]:
    """Average precision in [0, 1] at each IoU threshold for each class, [thresholds, classes].

    Parameters
    ----------
    detections, truths, classes, thresholds:
        As in `tasks.detection.verdicts.judge`, which also says what is right and what is wrong.
    interpolation:
        How a curve becomes a number. Both take, for a recall, the best precision at that recall or more. "voc07": its
        mean over recalls 0, 0.1, ..., 1. "area": the area under it, as VOC has had it since 2010.

    Returns
    -------
    ndarray
        NaN for a class that has nothing to find. Errors as there, and for an unknown interpolation.

    Examples
    --------
    >>> truth = Truth(np.array([[0.0, 0.0, 4.0, 4.0], [6.0, 6.0, 9.0, 9.0]]), np.array([0, 0]), np.array([False] * 2))
    >>> found = Detections(truth.boxes[:1], np.array([0.9]), np.array([0]))
    >>> average_precision([found], [truth], classes=2, thresholds=[0.5], interpolation="area")
    array([[0.5, nan]])
    """
    checks.one_of("interpolation", interpolation, INTERPOLATIONS)
    curves = precision_recall(detections, truths, classes=classes, thresholds=thresholds)
    none = np.full(len(thresholds), np.nan)
    columns = [_BY_NAME[interpolation](curve) if curve.positives else none for curve in curves]
    return np.stack(columns, axis=1)


def evaluate(
    detections: Sequence[Detections], truths: Sequence[Truth], *, classes: int, interpolation: str = "voc07"
) -> dict[str, float]:
    """The columns of Table 7, in percent: means over the classes that have something to find.

    "ap" is a mean over IoU .50:.05:.95 too; then come "ap50", "ap60", "ap70", "ap80" and "ap90". Arguments as in
    `average_precision`. ValueError if no class has anything to find, and where `average_precision` raises it.

    >>> truth = Truth(np.array([[0.0, 0.0, 8.0, 8.0]]), np.array([0]), np.array([False]))
    >>> found = Detections(np.array([[0.0, 0.0, 8.0, 6.0]]), np.array([0.9]), np.array([0]))
    >>> evaluate([found], [truth], classes=1)  # an IoU of 0.75
    {'ap': 60.0, 'ap50': 100.0, 'ap60': 100.0, 'ap70': 100.0, 'ap80': 0.0, 'ap90': 0.0}
    """
    table = average_precision(detections, truths, classes=classes, thresholds=THRESHOLDS, interpolation=interpolation)
    known = ~np.isnan(table[0])
    if not known.any():
        raise ValueError(f"truths of {len(truths)} images hold nothing to find; allowed: one object not difficult")
    means = 100 * table[:, known].mean(axis=1)
    return {"ap": float(means.mean()), **{name: float(means[row]) for name, row in _COLUMNS.items()}}


def per_class(
    detections: Sequence[Detections],
    truths: Sequence[Truth],
    *,
    names: Sequence[str],
    interpolation: str = "voc07",
) -> dict[str, float]:
    """Average precision at IoU 0.5 of each class by its name, in percent; a class with nothing to find is left out.

    >>> truth = Truth(np.array([[0.0, 0.0, 8.0, 8.0]]), np.array([1]), np.array([False]))
    >>> found = Detections(truth.boxes, np.array([0.9]), np.array([1]))
    >>> per_class([found], [truth], names=["cat", "dog"])
    {'dog': 100.0}
    """
    row = average_precision(detections, truths, classes=len(names), thresholds=[0.5], interpolation=interpolation)[0]
    return {name: 100 * float(value) for name, value in zip(names, row, strict=True) if not np.isnan(value)}


def _voc07(curve: Curve) -> NDArray[np.float64]:
    # counts over counts and k / 10 are correctly rounded, so that 3 of 10 does reach 0.3
    best = [np.where(curve.recall >= k / 10, curve.precision, 0).max(axis=1, initial=0) for k in range(11)]
    return np.asarray(np.mean(best, axis=0))


def _area(curve: Curve) -> NDArray[np.float64]:
    best = np.maximum.accumulate(curve.precision[:, ::-1], axis=1)[:, ::-1]
    return np.asarray((np.diff(curve.recall, axis=1, prepend=0) * best).sum(axis=1))


_BY_NAME: dict[str, Callable[[Curve], NDArray[np.float64]]] = {"voc07": _voc07, "area": _area}
