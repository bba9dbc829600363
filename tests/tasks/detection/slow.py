"""The detector's parts once more, box by box, as their papers tell them: what the vectorised ones are held to."""

from __future__ import annotations

import math
from collections.abc import Sequence

Box = Sequence[float]


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes given by corners."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def match(objects: Sequence[Box], priors: Sequence[Box]) -> list[int]:
    """The object of each prior, or -1."""
    answers = [-1] * len(priors)
    free = set(range(len(objects)))
    while free:
        pairs = [(overlap(objects[k], priors[p]), k, p) for k in free for p in range(len(priors)) if answers[p] < 0]
        best = max(pairs, default=(0.0, 0, 0))
        if best[0] == 0.0:
            break
        _, k, p = best
        answers[p] = k
        free.remove(k)
    for p, prior in enumerate(priors):
        if answers[p] < 0 and len(objects):
            shares = [overlap(one, prior) for one in objects]
            if max(shares) > 0.5:
                answers[p] = shares.index(max(shares))
    return answers


def encode(box: Box, prior: Box) -> list[float]:
    """Corners and a prior (cx, cy, w, h) to four offsets."""
    cx, cy, w, h = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]
    return [
        (cx - prior[0]) / prior[2] / 0.1,
        (cy - prior[1]) / prior[3] / 0.1,
        math.log(w / prior[2]) / 0.2,
        math.log(h / prior[3]) / 0.2,
    ]


def smooth_l1(x: float) -> float:
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def cross_entropy(logits: Sequence[float], label: int) -> float:
    return math.log(sum(math.exp(value - logits[label]) for value in logits))


def losses(
    offsets: Sequence[Sequence[Sequence[float]]],
    logits: Sequence[Sequence[Sequence[float]]],
    priors: Sequence[Box],
    boxes: Sequence[Sequence[Box]],
    labels: Sequence[Sequence[int]],
) -> tuple[float, float]:
    """Localisation and classification loss of a batch."""
    where = what = 0.0
    positives = 0
    edges = [(p[0] - p[2] / 2, p[1] - p[3] / 2, p[0] + p[2] / 2, p[1] + p[3] / 2) for p in priors]
    for moved, said, some, kinds in zip(offsets, logits, boxes, labels, strict=True):
        answers = match(some, edges)
        own = 0
        for p, k in enumerate(answers):
            if k >= 0:
                own += 1
                where += sum(smooth_l1(a - b) for a, b in zip(moved[p], encode(some[k], priors[p]), strict=True))
                what += cross_entropy(said[p], kinds[k] + 1)
        wrong = sorted((cross_entropy(said[p], 0) for p, k in enumerate(answers) if k < 0), reverse=True)
        what += sum(wrong[: 3 * own])
        positives += own
    return where / max(positives, 1), what / max(positives, 1)


def suppress(boxes: Sequence[Box], scores: Sequence[float], threshold: float) -> list[int]:
    """Rows that stay, by falling score."""
    stay: list[int] = []
    for row in sorted(range(len(boxes)), key=lambda row: -scores[row]):
        if all(overlap(boxes[row], boxes[other]) <= threshold for other in stay):
            stay.append(row)
    return stay
