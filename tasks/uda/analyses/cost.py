"""What a training step costs with each method, against the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtlgrad.compare.schema import Run
from tasks.uda.analyses.runs import by_label, canvas

BASELINE = "sum"


def data(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The median step time of each method, and its ratio to the baseline's with the same problem options and seed.

    Ratios are of runs on one machine class; where several ran side by side they are to be read with care.
    """
    grouped = by_label(runs)
    timed = {label: [run for run in own if run.step_ms is not None] for label, own in grouped.items()}
    if not any(timed.values()):
        return None
    base = {run.seed: run.step_ms.median for run in timed.get(BASELINE, []) if run.step_ms is not None}
    rows = {}
    for label, own in timed.items():
        times = [run.step_ms.median for run in own if run.step_ms is not None]
        ratios = [
            run.step_ms.median / base[run.seed]
            for run in own
            if run.step_ms is not None and run.seed in base and base[run.seed] > 0
        ]
        if times:
            rows[label] = {"ms": float(np.median(times)), "ratio": float(np.median(ratios)) if ratios else None}
    return {"baseline": BASELINE, "jobs": max(run.jobs for run in runs), "methods": rows}


def draw(shown: Mapping[str, Any]) -> Figure:
    """A bar a method."""
    rows = shown["methods"]
    figure, [[axis]] = canvas(1, 1, width=7, height=0.8 + 0.26 * len(rows))
    _panel(axis, rows, shown)
    return figure


def _panel(axis: Any, rows: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
    places = np.arange(len(rows))[::-1]
    values = [row["ms"] for row in rows.values()]
    axis.barh(places, values, color="#4477aa")
    for place, row in zip(places, rows.values(), strict=True):
        beside = "" if row["ratio"] is None else f" ({row['ratio']:.2f} x {shown['baseline']})"
        axis.text(row["ms"], place, f" {row['ms']:.1f}{beside}", va="center", fontsize=7)
    axis.set_yticks(places, list(rows), fontsize=8)
    axis.set_xlim(0, 1.35 * max(values))
    axis.set_xlabel(f"median milliseconds a step (up to {shown['jobs']} runs side by side)", fontsize=8)
