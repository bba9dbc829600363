"""Golden values: for every method a small J, the direction it must give, and where each number comes from.

All directions were worked out by hand from the equation named, on one of three Jacobians whose Gramians are small
integers or simple fractions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

Rows = list[list[float]]

CONFLICT: Rows = [[1.0, 0.0], [-1.0, 1.0]]
"""G = [[1, -1], [-1, 2]]: |g1|^2 = 1, |g2|^2 = 2, c = -1, theta = 135 degrees."""
OBTUSE: Rows = [[1.0, 0.0], [-0.5, math.sqrt(3) / 2]]
"""Unit vectors at 120 degrees: delta = 30 degrees."""
AGREE: Rows = [[2.0, 0.0], [1.0, 1.0]]
"""G = [[4, 2], [2, 2]]: no conflict."""


@dataclass(frozen=True)
class Case:
    """`method(jacobian)` is `direction`."""

    name: str
    """Catalog name."""
    jacobian: Rows
    direction: list[float]
    provenance: str
    arguments: dict[str, Any] = field(default_factory=dict)
    losses: list[float] | None = None
    seed: int = 0


CASES = [
    Case("sum", CONFLICT, [0.0, 1.0], "g1 + g2"),
    Case("mean", CONFLICT, [0.0, 0.5], "(g1 + g2) / 2"),
    Case("fixed", CONFLICT, [0.5, 0.5], "g1 + g2 / 2", {"weights": (1.0, 0.5)}),
    Case("gh", CONFLICT, [0.5, 1.5], "Theorem 1, Eq. 29: w = (1 + 1/1, 1 + 1/2), so 2 g1 + 1.5 g2"),
    Case("gh", AGREE, [3.0, 1.0], "Theorem 1, Case I: the sum"),
    Case(
        "ghpp",
        OBTUSE,
        [
            1 + 2 * math.sin(math.pi / 24) - 0.5 * (1 - 2 * math.sin(math.pi / 24)),
            (1 - 2 * math.sin(math.pi / 24)) * math.sqrt(3) / 2,
        ],
        "Eq. 43 with lam = 1/2: beta / 2 = beta' / 2 = 7.5 degrees, tau = 1.2611, 0.7389",
    ),
    Case(
        "ghpp",
        OBTUSE,
        [math.cos(math.pi / 12) - math.sin(math.pi / 12), math.sin(math.pi / 12) + math.cos(math.pi / 12)],
        "the rotation of Sec. 3.5: both turn 15 degrees, g~1 = (cos 15, sin 15), g~2 = (-sin 15, cos 15)",
        {"form": "rotation"},
    ),
    Case("negated", CONFLICT, [-2.0, 1.0], "Sec. 5.7: -g1 + g2"),
    Case("negated", CONFLICT, [2.0, -1.0], "Sec. 5.7: g1 - g2", {"task": 1}),
    Case("pcgrad", CONFLICT, [0.5, 1.5], "Algorithm 1: g1 + g2 / 2 and g2 + g1"),
    Case(
        "pcgrad",
        [[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]],
        [0.0, -0.5],
        "Algorithm 1, by index: g1 -> (1/2, 1/2) -> (1/2, 0); g2 -> (0, 1) -> (0, 0); g3 -> itself -> (-1/2, -1/2)",
        {"order": "fixed"},
    ),
    Case("mgda", CONFLICT, [0.2, 0.4], "Algorithm 1: w1 = (2 + 1) / (1 + 2 + 2) = 3/5"),
    Case("mgda", AGREE, [1.0, 1.0], "Algorithm 1: (2 - 2) / 2 = 0, so the shorter gradient"),
    Case("cagrad", CONFLICT, [0.0, 0.5], "Eq. 3 with c = 0: the mean", {"c": 0.0}),
    Case("graddrop", [[1.0, -2.0], [3.0, -1.0]], [4.0, -3.0], "Algorithm 1: coordinates of one sign have P = 1 or 0"),
    Case("graddrop", CONFLICT, [0.0, 1.0], "Algorithm 1: everything leaks", {"leak": 1.0}),
]
