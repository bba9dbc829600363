"""Published figures beside our own: only where whoever passes them in says that data and protocol are the same."""

from __future__ import annotations

from collections.abc import Callable

from mtlgrad.compare.metrics import spread_text
from mtlgrad.compare.results import Results
from mtlgrad.compare.schema import Run

Beside = Callable[[Run], float | None]
"""A run to the published figure of its main metric; None where there is none, or where anything differs."""

HEADINGS = ["method", "arm", "ours", "published"]


def published_lines(results: Results, beside: Beside | None) -> list[list[str]]:
    """A line for each row of which every run has one and the same published figure."""
    lines = []
    for arm in results.arms:
        for row in results.rows[arm.name]:
            label = row.selected or row.label
            runs = [run for run in results.runs if (run.arm, run.label) == (arm.name, label)]
            figures = {None if beside is None or run.metric != results.metric else beside(run) for run in runs}
            figure = figures.pop() if len(figures) == 1 else None
            if figure is not None and row.final is not None:
                lines.append([row.label, arm.name, spread_text(row.final.mean, row.final.std), f"{figure:g}"])
    return lines
