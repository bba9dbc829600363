"""Average precision against loops that follow the development kit's description, and hand-computed cases."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.detection.metrics import (
    THRESHOLDS,
    average_precision,
    evaluate,
    per_class,
    precision_recall,
)
from tasks.detection.verdicts import Detections, Truth, judge, overlaps
from tests.tasks.detection.seen import found, truth

# ---- the slow, obvious version


def iou_by_hand(a: Sequence[float], b: Sequence[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def ap_by_hand(
    detections: Sequence[Detections], truths: Sequence[Truth], label: int, threshold: float, interpolation: str
) -> float:
    scored = [
        (-score, image, box)
        for image, one in enumerate(detections)
        for box, score, kind in zip(one.boxes.tolist(), one.scores.tolist(), one.labels.tolist(), strict=True)
        if kind == label
    ]
    objects = [
        [
            {"box": box, "difficult": hard, "claimed": False}
            for box, kind, hard in zip(one.boxes.tolist(), one.labels.tolist(), one.difficult.tolist(), strict=True)
            if kind == label
        ]
        for one in truths
    ]
    positives = sum(not one["difficult"] for image in objects for one in image)
    if not positives:
        return float("nan")
    right = wrong = 0
    points = []
    for _, image, box in sorted(scored, key=lambda one: one[0]):  # stable
        most, best = -1.0, None
        for one in objects[image]:
            overlap = iou_by_hand(box, one["box"])
            if overlap > most:
                most, best = overlap, one
        if best is not None and most >= threshold:
            if best["difficult"]:
                continue
            right, wrong = (right, wrong + 1) if best["claimed"] else (right + 1, wrong)
            best["claimed"] = True
        else:
            wrong += 1
        points.append((right, right / (right + wrong)))
    if interpolation == "voc07":  # recall >= k / 10, in whole numbers
        return sum(max((p for r, p in points if 10 * r >= k * positives), default=0.0) for k in range(11)) / 11
    # each right detection adds 1 / positives of recall, at the best precision from there on
    return sum(max((p for r, p in points if r >= k), default=0.0) for k in range(1, positives + 1)) / positives


CORNERS = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 4), st.integers(1, 4)).map(
    lambda one: (one[0], one[1], one[0] + one[2], one[1] + one[3])
)
# Few places and few scores: equal scores, equal overlaps, duplicates and overlaps at a threshold exactly all abound.
OBJECT = st.tuples(CORNERS, st.integers(0, 2), st.sampled_from([False, False, True]))
DETECTION = st.tuples(CORNERS, st.integers(0, 2), st.sampled_from([0.1, 0.5, 0.9]))
IMAGE = st.tuples(st.lists(OBJECT, max_size=5), st.lists(DETECTION, max_size=8))


@settings(deadline=None, max_examples=200)
@given(images=st.lists(IMAGE, max_size=4), interpolation=st.sampled_from(["voc07", "area"]))
def test_against_loops(images: list[Any], interpolation: Any) -> None:
    truths = [
        Truth(
            np.array([box for box, _, _ in objects], float).reshape(-1, 4),
            np.array([label for _, label, _ in objects], int),
            np.array([hard for _, _, hard in objects], bool),
        )
        for objects, _ in images
    ]
    detections = [
        Detections(
            np.array([box for box, _, _ in some], np.float32).reshape(-1, 4),
            np.array([score for _, _, score in some], np.float32),
            np.array([label for _, label, _ in some], int),
        )
        for _, some in images
    ]
    thresholds = (0.25, 0.5, 0.6, 0.75, 1.0)
    table = average_precision(detections, truths, classes=3, thresholds=thresholds, interpolation=interpolation)
    wanted = [
        [ap_by_hand(detections, truths, label, threshold, interpolation) for label in range(3)]
        for threshold in thresholds
    ]
    np.testing.assert_allclose(table, wanted, rtol=1e-12, atol=0, equal_nan=True)


def crowd(seed: int, *, images: int, classes: int, each: int) -> tuple[list[Detections], list[Truth]]:
    rng = np.random.default_rng(seed)
    detections, truths = [], []
    for _ in range(images):
        count = int(rng.integers(0, 9))
        low = 200 * rng.random((count, 2))
        boxes = np.concatenate([low, low + 10 + 60 * rng.random((count, 2))], axis=1)
        labels = rng.integers(0, classes, count)
        rows = rng.integers(0, count, each) if count else np.zeros(0, int)
        near = boxes[rows] + 3 * rng.standard_normal((len(rows), 4))
        near = np.concatenate([near[:, :2], np.maximum(near[:, :2], near[:, 2:])], axis=1)
        kinds = np.where(rng.random(len(rows)) < 0.8, labels[rows], rng.integers(0, classes, len(rows)))
        detections.append(Detections(near.astype(np.float32), rng.random(len(rows)).astype(np.float32), kinds))
        truths.append(Truth(boxes, labels, rng.random(count) < 0.1))
    return detections, truths


@pytest.mark.parametrize("interpolation", ["voc07", "area"])
def test_crowds_against_loops(interpolation: Any) -> None:
    detections, truths = crowd(0, images=30, classes=4, each=20)
    table = average_precision(detections, truths, classes=4, thresholds=THRESHOLDS, interpolation=interpolation)
    wanted = [
        [ap_by_hand(detections, truths, label, threshold, interpolation) for label in range(4)]
        for threshold in THRESHOLDS
    ]
    assert 0.1 < table[0].mean() < 0.9  # neither all right nor all wrong
    np.testing.assert_allclose(table, wanted, rtol=1e-12)


# ---- by hand


def test_eleven_points_and_area() -> None:
    """Four objects far apart; detections right, wrong, right, right, wrong: the fourth object is missed.

    precision 1, 1/2, 2/3, 3/4, 3/5 at recall 1/4, 1/4, 2/4, 3/4, 3/4. Best precision from a recall on: 1 up to 1/4,
    then 3/4 up to 3/4, then 0. Eleven points: 0, .1, .2 get 1; .3, .4, .5, .6, .7 get 3/4; .8, .9, 1 get 0; the mean
    is (3 + 15/4) / 11 = 27/44. Area: 1/4 * 1 + 1/2 * 3/4 = 5/8.
    """
    boxes = [(20 * k, 0, 20 * k + 10, 10) for k in range(4)]
    nowhere = (0, 50, 10, 60)
    one = found(boxes[0], nowhere, boxes[1], boxes[2], nowhere)
    (curve,) = precision_recall([one], [truth(*boxes)], classes=1, thresholds=[0.5])
    np.testing.assert_allclose(curve.precision, [[1, 1 / 2, 2 / 3, 3 / 4, 3 / 5]])
    np.testing.assert_allclose(curve.recall, [[1 / 4, 1 / 4, 2 / 4, 3 / 4, 3 / 4]])
    options: Any = {"classes": 1, "thresholds": [0.5]}
    voc07 = average_precision([one], [truth(*boxes)], interpolation="voc07", **options)
    area = average_precision([one], [truth(*boxes)], interpolation="area", **options)
    assert voc07.item() == pytest.approx(27 / 44)
    assert area.item() == pytest.approx(5 / 8)


def test_a_recall_of_three_tenths_reaches_three_tenths() -> None:
    """3 of 10 found, nothing wrong: the points 0, .1, .2, .3 get 1, so 4/11. In binary, 3 * 0.1 is more than 3 / 10."""
    boxes = [(20 * k, 0, 20 * k + 10, 10) for k in range(10)]
    for count in range(11):
        options: Any = {"classes": 1, "thresholds": [0.5], "interpolation": "voc07"}
        value = average_precision([found(*boxes[:count])], [truth(*boxes)], **options).item()
        assert value == pytest.approx((count + 1) / 11 if count else 0)


def test_an_overlap_of_the_threshold_exactly_is_enough() -> None:
    """Ten rows of ten pixels, of which 5, 6, ..., 9 are found: IoU 1/2, 3/5, 7/10, ..., as decimal thresholds are."""
    for tenths in range(5, 10):
        small = [found((0, 0, 10, tenths))]
        result = evaluate(small, [truth((0, 0, 10, 10))], classes=1)
        assert result[f"ap{10 * tenths}"] == 100
        assert tenths == 9 or result[f"ap{10 * tenths + 10}"] == 0


def test_difficult_objects_count_neither_way() -> None:
    """Detections of the difficult object (twice) leave no trace; it is no miss either.

    The other object is then found by the only detection that counts: precision 1 at recall 1. In the curve, the column
    of the surest, which is ignored, is 0 and 0, and the last one repeats what was before.
    """
    objects = truth((0, 0, 10, 10), (30, 0, 40, 10), difficult=[0])
    some = found((0, 0, 10, 10), (30, 0, 40, 10), (0, 0, 10, 9))
    (curve,) = precision_recall([some], [objects], classes=1, thresholds=[0.5])
    assert curve.precision.tolist() == [[0, 1, 1]]
    assert curve.recall.tolist() == [[0, 1, 1]]
    assert evaluate([some], [objects], classes=1)["ap"] == 100
    assert judge([some], [objects], classes=1, thresholds=[0.5])[1].tolist() == [[True, False, True]]


def test_equal_scores_go_in_the_order_given() -> None:
    """A wrong detection before or after the right one, in the same image or another: precision 1/2 or 1."""
    box, nowhere, objects = (0, 0, 10, 10), (50, 50, 60, 60), truth((0, 0, 10, 10))
    for boxes, wanted in (((box, nowhere), 100), ((nowhere, box), 50)):
        together = [found(*boxes, scores=[0.5, 0.5])]
        apart = [found(one, scores=[0.5]) for one in boxes]
        truths = [objects if one is box else truth() for one in boxes]
        assert evaluate(together, [objects], classes=1)["ap50"] == pytest.approx(wanted)
        assert evaluate(apart, truths, classes=1)["ap50"] == pytest.approx(wanted)


def test_columns_average_classes_that_have_something_to_find() -> None:
    """Class 0: IoU 0.72, so 1 at .50 to .70, five of ten thresholds. Class 1: missed. Class 2: only difficult. Class 3:
    absent, and detected in vain."""
    objects = truth((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), labels=[0, 1, 2], difficult=[2])
    some = found((0, 0, 8, 9), (0, 0, 10, 10), labels=[0, 3])
    result = evaluate([some], [objects], classes=4)
    assert list(result) == ["ap", "ap50", "ap60", "ap70", "ap80", "ap90"]
    assert result == pytest.approx({"ap": 25, "ap50": 50, "ap60": 50, "ap70": 50, "ap80": 0, "ap90": 0})
    assert per_class([some], [objects], names=["a", "b", "c", "d"]) == pytest.approx({"a": 100, "b": 0})


def test_nothing_found_and_nothing_to_find() -> None:
    nothing = found()
    assert evaluate([nothing], [truth((0, 0, 10, 10))], classes=2) == dict.fromkeys(
        ("ap", "ap50", "ap60", "ap70", "ap80", "ap90"), 0.0
    )
    options: Any = {"classes": 2, "thresholds": [0.5], "interpolation": "area"}
    for detections, truths in (([], []), ([nothing], [truth()]), ([found((0, 0, 1, 1))], [truth()])):
        assert np.isnan(average_precision(detections, truths, **options)).tolist() == [[True, True]]
        with pytest.raises(ValueError, match=rf"truths of {len(truths)} images hold nothing to find"):
            evaluate(detections, truths, classes=2)


def test_boxes_without_area_are_wrong() -> None:
    assert evaluate([found((3, 3, 3, 8))], [truth((3, 3, 3, 8))], classes=1)["ap"] == 0
    assert overlaps(np.array([3.0, 3, 3, 8]), np.array([0.0, 0, 9, 9])) == 0


# ---- properties


def test_what_changes_nothing() -> None:
    """Scores count by their order only; the unit of length, the order of images and of boxes do not count."""
    detections, truths = crowd(1, images=20, classes=3, each=15)
    before = evaluate(detections, truths, classes=3)
    rng = np.random.default_rng(0)
    images = rng.permutation(20)
    orders = [rng.permutation(len(one.labels)) for one in detections]
    shuffled = [
        Detections(4 * one.boxes[order], np.log(one.scores[order]), one.labels[order])
        for one, order in zip(detections, orders, strict=True)
    ]
    scaled = [Truth(4 * one.boxes, one.labels, one.difficult) for one in truths]
    after = evaluate([shuffled[k] for k in images], [scaled[k] for k in images], classes=3)
    assert after == pytest.approx(before)


def test_speed() -> None:
    detections, truths = crowd(2, images=500, classes=6, each=50)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        evaluate(detections, truths, classes=6)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5


# ---- errors


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"truths": []}, ValueError, r"detections are of 1 images, truths of 0; allowed: of as many"),
        (
            {"detections": [found((0, 0, 1, 1), labels=[3])]},
            ValueError,
            r"detections\[0\].labels has 3; allowed: 0 to 2",
        ),
        ({"truths": [truth((0, 0, 1, 1), labels=[-1])]}, ValueError, r"truths\[0\].labels has -1; allowed: 0 to 2"),
        ({"classes": 0}, ValueError, r"classes=0 is out of range"),
        ({"thresholds": [0.5, 0.0]}, ValueError, r"thresholds=\(0.5, 0.0\) has 0.0; allowed: IoU > 0 and <= 1"),
        ({"thresholds": [1.01]}, ValueError, r"thresholds=\(1.01,\) has 1.01"),
        ({"thresholds": [float("nan")]}, ValueError, r"thresholds=\(nan,\) has nan"),
        ({"interpolation": "coco"}, ValueError, r"interpolation='coco' is unknown; allowed: \('voc07', 'area'\)"),
    ],
)
def test_arguments_that_are_wrong(changes: dict[str, Any], error: type[Exception], says: str) -> None:
    good: dict[str, Any] = {
        "detections": [found((0, 0, 1, 1), labels=[2])],
        "truths": [truth((0, 0, 1, 1), labels=[2])],
        "classes": 3,
        "thresholds": [0.5],
        "interpolation": "voc07",
    }
    assert average_precision(**good)[0, 2] == 1
    with pytest.raises(error, match=says):
        average_precision(**(good | changes))
