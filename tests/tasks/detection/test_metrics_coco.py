"""Average precision against COCO's: equal where the definitions agree, and as they say where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from tasks.detection.metrics import THRESHOLDS, average_precision, precision_recall
from tasks.detection.verdicts import Detections, Truth
from tests.tasks.detection.seen import found, truth


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
