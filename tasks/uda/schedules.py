"""What changes over a run as a function of its progress: learning rates and the weight of an adversary."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

LEARNING_RATES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1 - progress,
    "inverse": lambda progress: (1 + 10 * progress) ** -0.75,
}
"""Name to the factor at a progress from 0 to 1. `inverse`: Ganin et al. 2016, section 5.2.2."""


def ramp(progress: float, *, high: float = 1.0) -> float:
    """2 high / (1 + e^(-10 progress)) - high: from 0 to about `high`, so that no untrained adversary is listened to.

    Ganin et al. 2016, section 5.2.2.

    >>> ramp(0.0), round(ramp(1.0), 4)
    (0.0, 0.9999)
    """
    return high * (2 / (1 + math.exp(-10 * progress)) - 1)


@dataclass(frozen=True)
class Recipe:
    """An optimizer and how its learning rate changes."""

    optimizer: Literal["adam", "sgd"]
    lr: float
    schedule: str
    weight_decay: float = 5e-4
    momentum: float = 0.0
    nesterov: bool = False
    trunk: float = 1.0
    """What the learning rate of a pretrained backbone is multiplied by; one from scratch always has the whole."""

    def factor(self, progress: float) -> float:
        """The learning rate at `progress`, from 0 to 1, against `lr`."""
        return LEARNING_RATES[self.schedule](progress)


SHORT = Recipe("adam", lr=1e-3, schedule="linear")
"""One recipe for all systems, for runs of seconds on networks from scratch: what differs is then the system alone."""
