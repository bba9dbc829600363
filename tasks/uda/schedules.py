"""What changes over a run as a function of its progress: learning rates and the weight of an adversary."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from mtlgrad.compare.checks import boolean, integer, number, one_of

Optimizer = Literal["adam", "sgd"]

LEARNING_RATES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: max(0.0, 1 - progress),
    "inverse": lambda progress: (1 + 10 * progress) ** -0.75,
}
"""Name to the factor at a progress from 0 on, where 1 is the end of the run or of the recipe's `horizon`.

`inverse`: Ganin et al. 2016, section 5.2.2.
"""


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

    optimizer: Optimizer
    lr: float
    schedule: str
    weight_decay: float = 5e-4
    momentum: float = 0.0
    nesterov: bool = False
    trunk: float = 1.0
    """What the learning rate of a pretrained backbone is multiplied by; one from scratch always has the whole."""
    horizon: int | None = None
    """Iterations in which schedules and ramps run their course, whatever the run's length; None: those of the run."""
    decay: float = 1.0
    decay_every: int | None = None
    """On top of the schedule, the learning rate is multiplied by `decay` each so many iterations; None: never."""

    def progress(self, index: int, steps: int) -> float:
        """How far iteration `index` of a run of `steps` is: from 0, and past 1 where the run outlasts the horizon."""
        return index / (self.horizon or steps)

    def factor(self, index: int, steps: int) -> float:
        """The learning rate of iteration `index` in a run of `steps`, against `lr`.

        >>> halved = Recipe("sgd", lr=0.01, schedule="constant", decay=0.5, decay_every=100)
        >>> [halved.factor(index, 300) for index in (0, 99, 100, 299)]
        [1.0, 1.0, 0.5, 0.25]
        """
        decayed = 1.0 if self.decay_every is None else self.decay ** (index // self.decay_every)
        return LEARNING_RATES[self.schedule](self.progress(index, steps)) * decayed

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        """The recipe with some of its fields replaced; `lr` and `weight_decay` are options of their own.

        Raises
        ------
        ValueError, TypeError
            A field that there is not, a value out of its range or of the wrong type, or two that do not fit each other.
        """
        if not isinstance(changes, Mapping):
            kind = type(changes).__name__
            raise TypeError(f"recipe_changes={changes!r} is a {kind}; allowed: a mapping of names to values")
        for name, value in changes.items():
            if name not in _CHECKS:
                raise ValueError(f"recipe_changes has {name!r}; allowed: {sorted(_CHECKS)}")
            _CHECKS[name](f"recipe_changes[{name!r}]", value)
        made = replace(self, **changes)
        if made.nesterov and made.momentum == 0:
            raise ValueError("nesterov=True with momentum=0; allowed: a momentum > 0, or nesterov=False")
        if (made.decay != 1) != (made.decay_every is not None):
            raise ValueError(f"decay={made.decay} with decay_every={made.decay_every}; allowed: both of them, or none")
        return made


_CHECKS: dict[str, Callable[[str, object], None]] = {
    "optimizer": lambda name, value: one_of(name, value, get_args(Optimizer)),
    "schedule": lambda name, value: one_of(name, value, LEARNING_RATES),
    "momentum": lambda name, value: number(name, value, high=1),
    "nesterov": boolean,
    "trunk": number,
    "horizon": lambda name, value: integer(name, value, low=1),
    "decay": lambda name, value: number(name, value, positive=True, high=1),
    "decay_every": lambda name, value: integer(name, value, low=1),
}
"""The fields that an option may change, with what checks a value."""

SHORT = Recipe("adam", lr=1e-3, schedule="linear")
"""One recipe for all systems, for runs of seconds on networks from scratch: what differs is then the system alone."""
