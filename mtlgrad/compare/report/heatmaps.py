"""How the tasks' gradients lie to each other, and what weights a method gave them, in numbers and over time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mtlgrad.compare.results import Results
from mtlgrad.compare.rows import Row
from mtlgrad.compare.schema import PhaseSamples, Run
from mtlgrad.compare.suite import Arm

HEADINGS = ["method", "measured decisions", "conflicts before", "conflicts after", "plain sum opposes", "mean cosine"]
NONE = "\N{EN DASH}"
DIVERGING = [[0.0, "#c23b4e"], [0.5, "rgba(140,146,156,0.16)"], [1.0, "#2f6fde"]]
SEQUENTIAL = [[0.0, "rgba(140,146,156,0.16)"], [1.0, "#12938a"]]
ROW_PX = 20


@dataclass(frozen=True)
class HeatMap:
    """Of one phase of one method."""

    label: str
    caption: str
    figure: go.Figure


def gradient_lines(results: Results, arm: Arm) -> list[list[str]]:
    """A line for each method whose decisions were measured, as text."""
    lines = []
    for row in results.rows[arm.name]:
        phases = [phase for run in _runs(results, arm, row) for phase in run.phases.values() if phase.timeline]
        measured = sum(phase.conflicts.measured for phase in phases)
        if row.selected is not None or not measured:
            continue
        cosines = [np.mean(phase.timeline.cosines) for phase in phases if phase.timeline]
        opposed = [phase.timeline.sum_opposed for phase in phases if phase.timeline]
        known = [share for share in opposed if share is not None]
        lines.append(
            [
                row.label,
                str(measured),
                _percent(row.conflicts_before),
                _percent(row.conflicts_after),
                _percent(float(np.mean(known)) if known else None),
                f"{np.mean(cosines):+.3f}".replace("-", "\N{MINUS SIGN}"),
            ]
        )
    return lines


def heat_maps(results: Results, arm: Arm, row: Row) -> list[HeatMap]:
    """Of every phase with more than two tasks, where its runs are equally long."""
    runs = _runs(results, arm, row)
    if row.selected is not None or not runs:
        return []
    found = []
    for name in runs[0].phases:
        phases = [run.phases[name] for run in runs if name in run.phases]
        if len(phases[0].tasks) > 2 and phases[0].timeline is not None:
            several = len(runs[0].phases) > 1
            found.append(HeatMap(row.label, f"phase {name}" if several else "", _figure(phases)))
    return found


def _figure(phases: list[PhaseSamples]) -> go.Figure:
    tasks = phases[0].tasks
    first = phases[0].timeline
    assert first is not None
    cosines, weights = _mean(phases, "cosines"), _mean(phases, "weights")
    pairs = [f"{one} \N{MIDDLE DOT} {other}" for one, other in combinations(tasks, 2)]
    figure = make_subplots(cols=1 if weights is None else 2, rows=1, horizontal_spacing=0.24)
    maps = [(cosines, pairs, DIVERGING, -1.0, 1.0, "cosine")]
    if weights is not None:
        maps.append((weights, tasks, SEQUENTIAL, 0.0, float(max(weights.max(), 1e-9)), "weight"))
    for column, (values, names, scale, low, high, what) in enumerate(maps, start=1):
        assert values is not None
        figure.add_trace(
            go.Heatmap(
                z=values.T.tolist(),
                x=first.decision,
                y=names,
                zmin=low,
                zmax=high,
                colorscale=scale,
                colorbar={"thickness": 7, "x": 0.40 if column == 1 and len(maps) == 2 else 1.0, "nticks": 3},
                hovertemplate=f"%{{y}}<br>decision %{{x:.0f}}: {what} %{{z:.2f}}<extra></extra>",
            ),
            row=1,
            col=column,
        )
    figure.update_xaxes(title="decision", nticks=4, showgrid=False)
    figure.update_yaxes(automargin=True, showgrid=False, autorange="reversed")
    height = ROW_PX * max(len(pairs), len(tasks), 4) + 70
    return figure.update_layout(height=height, margin={"l": 8, "r": 8, "t": 8, "b": 36})


def _mean(phases: list[PhaseSamples], what: str) -> Any:
    """[stretches, rows], the mean over the runs that have as many stretches as the first; None without values."""
    found = [getattr(phase.timeline, what) for phase in phases if phase.timeline is not None]
    arrays = [np.array(values, dtype=float) for values in found if values is not None]
    return np.mean([one for one in arrays if one.shape == arrays[0].shape], axis=0) if arrays else None


def _runs(results: Results, arm: Arm, row: Row) -> list[Run]:
    label = row.selected or row.label
    return [run for run in results.runs if (run.arm, run.label, run.status) == (arm.name, label, "ok")]


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.0f} %"
