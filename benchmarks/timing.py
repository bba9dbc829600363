"""Fair timing on a shared machine: contenders take turns, and are compared as ratios within a turn."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Times = dict[str, list[float]]
"""Seconds per call, one entry a round, by contender."""


@dataclass(frozen=True)
class Quartiles:
    """Median and quartiles."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: list[float]) -> Quartiles:
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        return Quartiles(median, low, high)

    def __str__(self) -> str:
        return f"{self.median:.4g} ({self.low:.4g} to {self.high:.4g})"


def take_turns(
    contenders: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    seconds_per_turn: float = 0.0,
    before_each: Callable[[], object] = lambda: None,
) -> Times:
    """Time every contender once a round, after two rounds that are not counted.

    Each goes first in turn, and the order of the others is drawn anew for every round, the same on every call: caches
    and memory are as the last turn left them, and nobody is to come after the same contender each time.

    Parameters
    ----------
    contenders:
        Name to call.
    rounds:
        Counted rounds.
    seconds_per_turn:
        A turn repeats a quick call until it has lasted about so long, and counts their mean.
    before_each:
        Called before each turn, untimed.

    >>> times = take_turns({"a": lambda: None, "b": lambda: sum(range(1000))}, rounds=5, seconds_per_turn=1e-3)
    >>> ratio(times, "b", "a").median > 1
    True
    """
    names, order = list(contenders), random.Random(0)
    repeats = {name: _repeats(contenders[name], seconds_per_turn, before_each) for name in names}
    times: Times = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for k in range(-2, rounds):
            first = names[k % len(names)]
            for name in [first, *order.sample([one for one in names if one != first], len(names) - 1)]:
                before_each()
                call, count = contenders[name], repeats[name]
                start = time.perf_counter()
                for _ in range(count):
                    call()
                spent = (time.perf_counter() - start) / count
                if k >= 0:
                    times[name].append(spent)
    finally:
        if collecting:
            gc.enable()
    return times


def ratio(times: Times, above: str, below: str) -> Quartiles:
    """How many times longer `above` takes than `below`, round by round."""
    return Quartiles.of([a / b for a, b in zip(times[above], times[below], strict=True)])


def _repeats(call: Callable[[], object], seconds: float, before_each: Callable[[], object]) -> int:
    if seconds <= 0:
        return 1
    before_each()
    call()
    start = time.perf_counter()
    call()
    once = max(time.perf_counter() - start, 1e-7)
    return max(1, min(10_000, round(seconds / once)))
