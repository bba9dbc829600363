"""What is refused as a detection or a truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tasks.detection.verdicts import Detections, Truth

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
