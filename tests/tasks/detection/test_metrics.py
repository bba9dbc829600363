"""Average precision against loops that follow the development kit's description, hand-computed cases, and COCO's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.detection.metrics import (
    THRESHOLDS,
    Detections,
    Truth,
    average_precision,
    evaluate,
    per_class,
    precision_recall,
)
from tasks.detection.verdicts import judge, overlaps


def truth(*boxes: Sequence[float], labels: Sequence[int] | None = None, difficult: Sequence[int] = ()) -> Truth:
    hard = np.isin(np.arange(len(boxes)), difficult)
    return Truth(np.array(boxes, float).reshape(-1, 4), np.array(labels or [0] * len(boxes), int), hard)


def found(*boxes: Sequence[float], scores: Sequence[float] = (), labels: Sequence[int] | None = None) -> Detections:
    scores = scores or [0.9 - 0.1 * k for k in range(len(boxes))]
    corners = np.array(boxes, float).reshape(-1, 4)
    return Detections(corners, np.array(scores, float), np.array(labels or [0] * len(boxes), int))


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


def test_a_second_detection_of_an_object_is_wrong_whatever_else_it_overlaps() -> None:
    """Here VOC and COCO differ. Objects A = [0, 10] and B = [4, 14] in x, both [0, 10] in y; detections are A itself
    and, less sure, D = [1, 11]. IoU of D: with A 9/11, with B 7/13 > 1/2.

    VOC: D looks at A only, finds it claimed and is wrong: precision 1, 1/2 at recall 1/2, 1/2, an area of 1/2. COCO:
    D goes to B, the best that is unclaimed, and both are right, with an AP of 1.
    """
    objects = truth((0, 0, 10, 10), (4, 0, 14, 10))
    both = found((0, 0, 10, 10), (1, 0, 11, 10))
    table = average_precision([both], [objects], classes=1, thresholds=[0.5], interpolation="area")
    assert table.item() == 0.5
    assert coco([both], [objects], classes=1)[0, :, 0].tolist() == [1.0] * 101


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


# ---- COCO's


def coco(detections: Sequence[Detections], truths: Sequence[Truth], *, classes: int) -> np.ndarray:
    """COCO's interpolated precision, [thresholds, 101 recalls, classes]; -1 for a class without truth."""

    def entries(one: Truth | Detections, image: int) -> list[dict[str, Any]]:
        return [
            {"image_id": image, "category_id": int(label) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            for (x1, y1, x2, y2), label in zip(one.boxes.tolist(), one.labels, strict=True)
        ]

    truth_rows, found_rows = [], []
    for image, (some, objects) in enumerate(zip(detections, truths, strict=True), start=1):
        for row, hard in zip(entries(objects, image), objects.difficult.tolist(), strict=True):
            area = row["bbox"][2] * row["bbox"][3]
            truth_rows.append({**row, "id": len(truth_rows) + 1, "area": area, "iscrowd": int(hard)})
        found_rows += [
            {**row, "score": score} for row, score in zip(entries(some, image), some.scores.tolist(), strict=True)
        ]
    known = COCO(
        {
            "images": [{"id": image + 1, "width": 1000, "height": 1000} for image in range(len(truths))],
            "categories": [{"id": label + 1, "name": str(label)} for label in range(classes)],
            "annotations": truth_rows,
        }
    )
    judged = COCOeval_faster(known, known.loadRes(found_rows), iouType="bbox")
    judged.params.maxDets = [1, 10, 1000]
    judged.evaluate()
    judged.accumulate()
    assert judged.params.iouThrs == pytest.approx(THRESHOLDS)
    assert judged.params.recThrs.tolist() == np.linspace(0, 1, 101).tolist()
    return np.asarray(judged.eval["precision"])[:, :, :, 0, 2]


def scattered(
    seed: int, *, images: int = 12, classes: int = 3, difficult: float = 0.0
) -> tuple[list[Detections], list[Truth]]:
    """Scenes in which COCO and VOC agree: objects apart, at most one detection near each, the others far from all.

    Then no detection ever meets a claimed object, and it makes no difference whether it may look at another.
    """
    rng = np.random.default_rng(seed)
    detections, truths = [], []
    scores = rng.permutation(images * 50) / (images * 50)  # no ties
    for image in range(images):
        cells = rng.permutation(25)
        count, wrong = int(rng.integers(0, 12)), int(rng.integers(0, 10))
        low = 100.0 * np.stack([cells % 5, cells // 5], axis=1) + 20
        boxes = np.concatenate([low, low + 20 + 40 * rng.random((25, 2))], axis=1)
        labels = rng.integers(0, classes, 25)
        noise = rng.exponential(2.0, (25, 1)) * rng.uniform(-1, 1, (25, 4))
        rows = np.concatenate([np.flatnonzero(rng.random(count) < 0.8), np.arange(count, count + wrong)])
        noise = np.clip(noise, -9, 9)  # stays in its cell, and right way round
        hard = rng.random(25) < difficult
        noise[hard] = np.abs(noise[hard]) * [-1, -1, 1, 1]  # encloses the object
        some = (boxes + noise)[rows]
        detections.append(Detections(some, scores[50 * image :][: len(rows)], labels[rows]))
        truths.append(Truth(boxes[:count], labels[:count], hard[:count]))
    return detections, truths


@pytest.mark.parametrize("difficult", [0.0, 0.4])
@pytest.mark.parametrize("seed", range(4))
def test_curves_against_coco(seed: int, difficult: float) -> None:
    """The definitions agree on these scenes up to the interpolation; the 101 points are taken here from our own curve.

    They differ where a second detection falls on a claimed object and overlaps another, see above. A difficult object
    is a crowd to COCO, and what finds it is ignored in both; the overlap with a crowd is a share of the detection
    alone, which is the IoU where the detection encloses it, as it does here.
    """
    detections, truths = scattered(seed, difficult=difficult)
    assert bool(difficult) == any(one.difficult.any() for one in truths)
    wanted = coco(detections, truths, classes=3)
    curves = precision_recall(detections, truths, classes=3, thresholds=THRESHOLDS)
    for label, curve in enumerate(curves):
        ours = [np.where(curve.recall >= recall, curve.precision, 0).max(axis=1) for recall in np.linspace(0, 1, 101)]
        np.testing.assert_allclose(np.stack(ours, axis=1), wanted[:, :, label], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_area_against_coco(seed: int) -> None:
    """The mean of 101 points is within 1/100 of the area under a falling curve that is nowhere more than 1."""
    detections, truths = scattered(seed)
    wanted = coco(detections, truths, classes=3).mean(axis=1)
    table = average_precision(detections, truths, classes=3, thresholds=THRESHOLDS, interpolation="area")
    assert 0.2 < table.mean() < 0.9
    np.testing.assert_allclose(table, wanted, atol=1 / 100)


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

BOX = np.array([[0.0, 0.0, 1.0, 1.0]])
ONE, NONE = np.array([0]), np.array([False])


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (
            lambda: Detections(BOX[0], np.ones(1), ONE),
            ValueError,
            r"Detections.boxes has shape \(4,\); allowed: \[any, 4",
        ),
        (
            lambda: Detections(BOX * np.nan, np.ones(1), ONE),
            ValueError,
            r"Detections.boxes\[0\]=\[nan, .*allowed: finite",
        ),
        (
            lambda: Truth(BOX[:, ::-1], ONE, NONE),
            ValueError,
            r"Truth.boxes\[0\]=\[1.0, 1.0, 0.0, 0.0\]; allowed: .*x1 <=",
        ),
        (lambda: Truth(BOX / 0.0, ONE, NONE), ValueError, r"Truth.boxes\[0\]=\[nan, nan, inf, inf\]; allowed: finite"),
        (lambda: Truth(BOX.astype(str), ONE, NONE), TypeError, r"Truth.boxes is of <U.*; allowed: numbers"),
        (
            lambda: Detections(BOX, np.array([np.nan]), ONE),
            ValueError,
            r"Detections.scores\[0\]=nan .*allowed: any number",
        ),
        (lambda: Detections(BOX, np.ones(2), ONE), ValueError, r"Detections.scores has shape \(2,\); allowed: \[1\]"),
        (
            lambda: Detections(BOX, np.ones(1), np.ones(1)),
            TypeError,
            r"Detections.labels is of float64; allowed: integers",
        ),
        (lambda: Truth(BOX, np.array([0, 1]), NONE), ValueError, r"Truth.labels has shape \(2,\); allowed: \[1\]"),
        (lambda: Truth(BOX, ONE, ONE), TypeError, r"Truth.difficult is of int64; allowed: bool"),
    ],
)
def test_values_that_are_none(make: Any, error: type[Exception], says: str) -> None:
    with np.errstate(all="ignore"), pytest.raises(error, match=says):
        make()


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
