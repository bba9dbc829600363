"""What problems exhibit beside numbers, gathered over the methods of an arm: `images`, `lines`, `trajectories`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from mtlgrad.compare.report.charts import PALETTE
from mtlgrad.compare.report.exhibits import legend, trajectories
from mtlgrad.compare.results import Results
from mtlgrad.compare.schema import Run
from mtlgrad.compare.suite import Arm

KINDS = ("images", "lines", "trajectories", "data")
"""`data` is kept for analyses and not shown."""


@dataclass(frozen=True)
class Panel:
    """One figure, or some images."""

    caption: str
    note: str = ""
    """What a reader has to know to read the figure."""
    figure: go.Figure | None = None
    images: list[dict[str, str]] = field(default_factory=list)
    """Caption and base64 PNG."""
    wide: bool = False
    """Takes the whole width."""
    broad: bool = False
    """Takes the width of two: images that are much wider than high."""


def gather(results: Results, arm: Arm) -> dict[str, list[Panel]]:
    """Panels by title, from the first good run of each method."""
    firsts: dict[str, Run] = {}
    for run in sorted(results.runs, key=lambda run: run.seed):
        if run.arm == arm.name and run.status == "ok":
            firsts.setdefault(run.label, run)
    order = [label for label in results.suite.labels if label in firsts]
    titles = dict.fromkeys(title for label in order for title in firsts[label].exhibits)
    drawn = [title for title in titles if any(_drawn(firsts[label].exhibits.get(title)) for label in order)]
    return {
        title: panels({label: firsts[label].exhibits[title] for label in order if title in firsts[label].exhibits})
        for title in drawn
    }


def _drawn(exhibit: Mapping[str, Any] | None) -> bool:
    return exhibit is not None and exhibit.get("kind") != "data"


def panels(exhibits: Mapping[str, Mapping[str, Any]]) -> list[Panel]:
    """One exhibit of several methods; a single panel where it is the same for all. ValueError for an unknown kind."""
    first = next(iter(exhibits.values()))
    kind = first.get("kind")
    if kind not in KINDS:
        raise ValueError(f"exhibit kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "trajectories":
        return [Panel("", note=legend(first), figure=trajectories(exhibits), wide=True)]
    shown = {"": first} if all(one == first for one in exhibits.values()) else exhibits
    if kind == "images":
        broad = bool(first.get("broad"))
        return [Panel(label, images=one["images"], broad=broad) for label, one in shown.items()]
    return [Panel(label, figure=_lines(one)) for label, one in shown.items()]


def _lines(exhibit: Mapping[str, Any]) -> go.Figure:
    figure = go.Figure()
    for k, (name, series) in enumerate(exhibit["series"].items()):
        figure.add_scatter(
            x=series["x"],
            y=series["y"],
            name=name,
            mode="lines+markers",
            line={"color": PALETTE[k % len(PALETTE)], "width": 1.5},
            marker={"size": 5},
        )
    figure.update_layout(
        height=230,
        margin={"l": 10, "r": 8, "t": 6, "b": 30},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "font": {"size": 10}},
        xaxis={"title": exhibit["x"], "automargin": True, "showgrid": False, "nticks": 11},
        yaxis={"title": exhibit["y"], "automargin": True},
    )
    return figure
