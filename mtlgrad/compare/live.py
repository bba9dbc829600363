"""The progress of a run, in a file: it crosses process borders and survives whoever reads it."""

from __future__ import annotations

import json
import math
import sys
import time
from functools import lru_cache
from pathlib import Path

from mtlgrad.compare.loop import Event
from mtlgrad.compare.record import plain
from mtlgrad.compare.schema import write_atomically

LIVE_EVERY_S = 0.25
"""A progress bar needs no more."""


class Progress:
    """Writes the progress now and then. A run whose progress cannot be written goes on without showing it."""

    def __init__(self, path: Path, metric: str) -> None:
        self._path = path
        self._metric = metric
        self._last = -math.inf
        self._value: float | None = None

    def __call__(self, event: Event) -> None:
        if event.evaluation is not None:
            self._value = plain(event.evaluation.metrics).get(self._metric, self._value)
        now = time.monotonic()
        if now - self._last < LIVE_EVERY_S and event.step != event.total:
            return
        self._last = now
        text = json.dumps({"step": event.step, "total": event.total, "metric": self._value})
        try:
            write_atomically(text, self._path)
        except OSError as error:
            _say(f"note: progress is not shown: {self._path.parent}: {error.strerror or error}")


@lru_cache(maxsize=64)
def _say(text: str) -> None:
    """Once in a process."""
    print(text, file=sys.stderr)
