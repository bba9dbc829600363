"""What a training step costs with each method, against the plain sum."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtlgrad.compare.schema import Run
from tasks.uda.analyses.runs import by_label, canvas, systems


def data(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The median step time of each method, and its ratio to the plain sum's in the same system.

    A ratio is the median over pairs of runs of the same problem options, seed, machine and number of threads. Where
    several runs went side by side it is still to be read with care.
    """
    timed = {label: [run for run in own if run.step_ms is not None] for label, own in by_label(runs).items()}
    system = systems(runs)
    sums: dict[str, str] = {}
    for label, own in timed.items():
        if own and own[0].method == "sum":
            sums.setdefault(system[label], label)
    rows = {}
    for label, own in timed.items():
        if own:
            baseline = sums.get(system[label])
            base = {_place(run): _milliseconds(run) for run in timed.get(baseline or "", [])}
            ratios = [_milliseconds(run) / base[_place(run)] for run in own if base.get(_place(run))]
            rows[label] = {
                "ms": float(np.median([_milliseconds(run) for run in own])),
                "baseline": baseline,
                "ratio": float(np.median(ratios)) if ratios else None,
            }
    return {"jobs": max(run.jobs for own in timed.values() for run in own), "methods": rows} if rows else None


def _place(run: Run) -> Hashable:
    """What two runs share whose times can be compared."""
    return run.seed, run.machine, run.threads


def _milliseconds(run: Run) -> float:
    assert run.step_ms is not None
    return run.step_ms.median


def draw(shown: Mapping[str, Any]) -> Figure:
    """A bar a method."""
    rows = shown["methods"]
    figure, [[axis]] = canvas(1, 1, width=7, height=1.0 + 0.26 * len(rows))
    places = np.arange(len(rows))[::-1]
    values = [row["ms"] for row in rows.values()]
    axis.barh(places, values, color="#4477aa")
    for place, (label, row) in zip(places, rows.items(), strict=True):
        known = row["ratio"] is not None and label != row["baseline"]
        ratio = f" ({row['ratio']:.2f} x {row['baseline']})" if known else ""
        axis.text(row["ms"], place, f" {row['ms']:.{1 if row['ms'] < 100 else 0}f}{ratio}", va="center", fontsize=7)
    axis.set_yticks(places, list(rows), fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_xlim(0, 1.5 * max(values))
    beside = f"up to {shown['jobs']} runs side by side" if shown["jobs"] > 1 else "one run at a time"
    axis.set_xlabel(
        f"median milliseconds a step ({beside})\n"
        "in brackets: median ratio to the plain sum of the same system on the same seed",
        fontsize=8,
    )
    return figure
