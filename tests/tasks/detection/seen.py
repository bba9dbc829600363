"""Truths and detections in few words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.detection.verdicts import Detections, Truth


def truth(*boxes: Sequence[float], labels: Sequence[int] | None = None, difficult: Sequence[int] = ()) -> Truth:
    hard = np.isin(np.arange(len(boxes)), difficult)
    return Truth(np.array(boxes, float).reshape(-1, 4), np.array(labels or [0] * len(boxes), int), hard)


def found(*boxes: Sequence[float], scores: Sequence[float] = (), labels: Sequence[int] | None = None) -> Detections:
    scores = scores or [0.9 - 0.1 * k for k in range(len(boxes))]
    corners = np.array(boxes, float).reshape(-1, 4)
    return Detections(corners, np.array(scores, float), np.array(labels or [0] * len(boxes), int))
