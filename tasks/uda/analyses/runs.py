"""What the figures share: runs by method, means with their spread, colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtlgrad.compare.schema import Run

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#aa3377", "#66ccee", "#888888", "#000000")
"""Tol's bright scheme: distinct for colour-blind readers."""
STYLES = ("-", "--", ":")


def by_label(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The good runs of each method, in order of appearance, seeds ascending."""
    grouped: dict[str, list[Run]] = {}
    for run in sorted((run for run in runs if run.status == "ok"), key=lambda run: run.seed):
        grouped.setdefault(run.label, []).append(run)
    return grouped


def final(run: Run) -> float:
    """The main metric at the end of a good run."""
    assert run.metrics is not None
    value = run.metrics.final[run.metric]
    assert value is not None
    return value


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation over seeds; the latter is 0 for a single one."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def look(k: int) -> dict[str, str]:
    """Colour and line style of the k-th method: neither repeats before both have."""
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": STYLES[k // len(COLOURS) % len(STYLES)]}


def canvas(rows: int, columns: int, *, width: float, height: float) -> tuple[Figure, list[list[Any]]]:
    """A figure of equal panels, each `width` by `height` inches, and its axes by row and column."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes: list[list[Any]] = figure.subplots(rows, columns, squeeze=False).tolist()
    return figure, axes
