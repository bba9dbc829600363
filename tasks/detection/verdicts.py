"""Which detections are right: the rule of the VOC development kit, without a loop over detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtlgrad.compare import checks


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one image.

    boxes: corners x1, y1, x2, y2 in pixels, continuous, [k, 4]. scores: higher is surer, [k]. labels: classes from 0,
    integers [k]. ValueError or TypeError for another shape or kind, a NaN, or a corner on the wrong side of the other.
    """

    boxes: NDArray[np.floating[Any]]
    scores: NDArray[np.floating[Any]]
    labels: NDArray[np.integer[Any]]

    def __post_init__(self) -> None:
        _check_boxes("Detections", self.boxes)
        _check_column("Detections.scores", self.scores, len(self.boxes), kinds="fiu", allowed="numbers")
        _check_column("Detections.labels", self.labels, len(self.boxes), kinds="iu", allowed="integers")
        for row in np.flatnonzero(np.isnan(self.scores))[:1]:
            raise ValueError(f"Detections.scores[{row}]=nan is no score; allowed: any number but NaN")


@dataclass(frozen=True, eq=False)
class Truth:
    """What is in one image.

    boxes: as in `Detections`, [n, 4]. labels: classes from 0, integers [n]. difficult: bool [n]; these objects need
    not be found, and finding one counts neither for nor against. Errors as in `Detections`.
    """

    boxes: NDArray[np.floating[Any]]
    labels: NDArray[np.integer[Any]]
    difficult: NDArray[np.bool_]

    def __post_init__(self) -> None:
        _check_boxes("Truth", self.boxes)
        _check_column("Truth.labels", self.labels, len(self.boxes), kinds="iu", allowed="integers")
        _check_column("Truth.difficult", self.difficult, len(self.boxes), kinds="b", allowed="bool")


def judge(
    detections: Sequence[Detections], truths: Sequence[Truth], *, classes: int, thresholds: Sequence[float]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which detections are right, and which count neither for nor against; all others are wrong.

    The detections of a class, over all images and surest first (equals in the order given), each look at the true box
    of their class and image that they overlap most (the first of equals). If the IoU is at least the threshold, a
    difficult box makes the detection count for nothing, a box nobody has claimed is claimed and makes it right, a
    claimed one makes it wrong. Otherwise it is wrong. "At least" follows the development kit's code; its prose, and
    popular ports of it, say "more than", which differs only where the IoU is the threshold exactly.

    Parameters
    ----------
    detections, truths:
        One for each image, in the same order.
    classes:
        How many there are.
    thresholds:
        Of the IoU, in (0, 1].

    Returns
    -------
    tuple of ndarray
        Right and ignored, bool [thresholds, k]: the k detections of all images, in the order given.

    Raises
    ------
    ValueError
        Different numbers of images; a label or a threshold out of range.

    Examples
    --------
    At IoU 0.5 the first box claims the object; at 0.9 it is too small, and leaves it to the second.

    >>> truth = Truth(np.array([[0.0, 0.0, 4.0, 4.0]]), np.array([0]), np.array([False]))
    >>> boxes = np.array([[0.0, 0.0, 4.0, 3.0], [0.0, 0.0, 4.0, 4.0]])
    >>> found = Detections(boxes, np.array([0.9, 0.8]), np.array([0, 0]))
    >>> judge([found], [truth], classes=1, thresholds=[0.5, 0.9])[0]
    array([[ True, False],
           [False,  True]])
    """
    _check(detections, truths, classes, thresholds)
    truth_key, truth_box = _flat("truths", truths, classes)
    key, box = _flat("detections", detections, classes)
    difficult = np.concatenate([*(truth.difficult for truth in truths), [False]])
    overlap, nearest = _best(key, box, truth_key, truth_box)
    near = overlap >= np.asarray(thresholds, dtype=np.float64)[:, None]
    ignored = near & difficult[nearest]
    place = np.empty(len(key), dtype=np.int64)
    place[surest_first(detections)] = np.arange(len(key))
    rows, columns = np.nonzero(near)
    first = np.full((len(near), len(difficult)), len(key))
    np.minimum.at(first, (rows, nearest[columns]), place[columns])  # who comes first to each true box
    return np.asarray(near & ~ignored & (first[:, nearest] == place)), np.asarray(ignored)


def surest_first(detections: Sequence[Detections]) -> NDArray[np.int64]:
    """The order of falling score of the detections of all images; equals as given."""
    return np.argsort(-np.concatenate([np.zeros(0), *(one.scores for one in detections)]), kind="stable")


def overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of boxes [..., 4] with boxes [..., 4], broadcast; 0 where both are empty.

    >>> overlaps(np.array([0.0, 0.0, 2.0, 2.0]), np.array([[0.0, 0.0, 2.0, 1.0], [5.0, 5.0, 6.0, 6.0]]))
    array([0.5, 0. ])
    """
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    common = np.maximum(sides, 0).prod(axis=-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(axis=-1) for box in (first, second)]
    union = areas[0] + areas[1] - common
    return np.asarray(common / np.where(union > 0, union, 1))


def _best(
    keys: NDArray[np.int64], boxes: NDArray[np.float64], truth_keys: NDArray[np.int64], truths: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The largest IoU of each box with the truths of its key, [k], and which (the first of equals) that is, [k].

    Where no truth has the key: 0, and one past the last.
    """
    order = np.argsort(truth_keys)
    start, end = (np.searchsorted(truth_keys[order], keys, side) for side in ("left", "right"))
    count = end - start
    overlap, nearest = np.zeros(len(keys)), np.full(len(keys), len(truths))
    some = np.flatnonzero(count)
    if not len(some):
        return overlap, nearest
    # one row for each pair of a box and a truth of its key, the rows of a box together
    first = np.cumsum(count[some]) - count[some]
    owner = np.repeat(some, count[some])
    other = order[np.arange(len(owner)) - np.repeat(first - start[some], count[some])]
    pairs = overlaps(boxes[owner], truths[other])
    overlap[some] = np.maximum.reduceat(pairs, first)
    nearest[some] = np.minimum.reduceat(np.where(pairs == overlap[owner], other, len(truths)), first)
    return overlap, nearest


def _flat(
    name: str, images: Sequence[Detections] | Sequence[Truth], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A number for its image and class [k] and the box [k, 4] of everything in all images, in order."""
    image = np.repeat(np.arange(len(images)), np.array([len(one.labels) for one in images], dtype=np.int64))
    boxes = np.concatenate([np.zeros((0, 4)), *(one.boxes for one in images)])
    labels = np.concatenate([np.zeros(0, np.int64), *(one.labels.astype(np.int64) for one in images)])
    for row in np.flatnonzero((labels < 0) | (labels >= classes))[:1]:
        raise ValueError(f"{name}[{image[row]}].labels has {labels[row]}; allowed: 0 to {classes - 1}")
    return image * classes + labels, boxes


def _check(
    detections: Sequence[Detections], truths: Sequence[Truth], classes: int, thresholds: Sequence[float]
) -> None:
    if len(detections) != len(truths):
        raise ValueError(f"detections are of {len(detections)} images, truths of {len(truths)}; allowed: of as many")
    checks.integer("classes", classes, low=1)
    for one in thresholds:
        if not 0 < one <= 1:
            raise ValueError(f"thresholds={tuple(thresholds)} has {one}; allowed: IoU > 0 and <= 1")


def _check_boxes(owner: str, boxes: NDArray[Any]) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{owner}.boxes has shape {boxes.shape}; allowed: [any, 4]")
    if boxes.dtype.kind not in "fiu":
        raise TypeError(f"{owner}.boxes is of {boxes.dtype}; allowed: numbers")
    good = np.isfinite(boxes).all(axis=1) & (boxes[:, :2] <= boxes[:, 2:]).all(axis=1)
    for row in np.flatnonzero(~good)[:1]:
        raise ValueError(f"{owner}.boxes[{row}]={boxes[row].tolist()}; allowed: finite x1 <= x2 and y1 <= y2")


def _check_column(name: str, values: NDArray[Any], length: int, *, kinds: str, allowed: str) -> None:
    if values.shape != (length,):
        raise ValueError(f"{name} has shape {values.shape}; allowed: [{length}], one for each box")
    if values.dtype.kind not in kinds:
        raise TypeError(f"{name} is of {values.dtype}; allowed: {allowed}")
