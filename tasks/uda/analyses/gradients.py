"""How the two gradients lie to each other before a method acts, and how its update lies to them after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtlgrad.compare.schema import Run
from tasks.uda.analyses.runs import by_label, canvas

BINS = 20
"""On each side of 0, so that no bar holds values of both signs."""
ROUNDING = 1e-6
"""Of the largest: gradients made orthogonal in single precision are not below 0."""
KINDS = {
    "inner_before": "g1 · g2",
    "inner_after": "g̃1 · g̃2",
    "cosine_before": "cos(g1, g2)",
    "cosine_after": "least cos(update, gi)",
}


def data(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Histograms by method of every measured decision of all seeds, with means and shares below 0."""
    shown = {}
    for label, own in by_label(runs).items():
        samples = [phase for run in own for phase in run.phases.values() if len(phase.tasks) == 2]
        kinds = {}
        for kind, name in KINDS.items():
            values = [value for phase in samples for value in getattr(phase, kind) if value is not None]
            if values:
                kinds[kind] = {"of": name, **_histogram(np.array(values), whole=kind.startswith("cosine"))}
        if kinds:
            shown[label] = kinds
    return {"methods": shown} if shown else None


def _histogram(values: np.ndarray, *, whole: bool) -> dict[str, Any]:
    """Counts; inner products have long tails, whose outer hundredths are put into the outermost bins."""
    end = 1.0 if whole else float(np.abs(np.quantile(values, [0.01, 0.99])).max()) or 1.0
    positive = np.linspace(0, end, BINS + 1)
    edges = np.concatenate([-positive[:0:-1], positive])
    values = np.where(np.abs(values) <= ROUNDING * np.abs(values).max(), 0.0, values)
    counts, _ = np.histogram(values.clip(-end, end), bins=edges)
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "mean": float(values.mean()),
        "below_zero": float((values < 0).mean()),
        "measured": len(values),
    }


def draw(shown: Mapping[str, Any]) -> Figure:
    """A row a method, a panel a kind; the line at 0 is where a conflict begins."""
    methods = shown["methods"]
    figure, axes = canvas(len(methods), len(KINDS), width=2.9, height=1.7)
    for row, (label, kinds) in zip(axes, methods.items(), strict=True):
        for axis, kind in zip(row, KINDS, strict=True):
            _panel(axis, label, kinds.get(kind), first=kind == "inner_before")
    figure.supxlabel("value; height: number of measured decisions of all seeds; red: below 0", fontsize=8)
    return figure


def _panel(axis: Any, label: str, one: Mapping[str, Any] | None, *, first: bool) -> None:
    if first:
        axis.set_ylabel(label, fontsize=8)
    axis.tick_params(labelsize=6)
    axis.set_yticks([])
    if one is None:
        axis.text(0.5, 0.5, "not defined", ha="center", va="center", transform=axis.transAxes, fontsize=7)
        axis.set_xticks([])
        return
    edges = np.array(one["edges"])
    middle = (edges[:-1] + edges[1:]) / 2
    colours = np.where(middle < 0, "#ee6677", "#4477aa")
    axis.bar(middle, one["counts"], width=np.diff(edges), color=list(colours))
    axis.locator_params(axis="x", nbins=5)
    axis.axvline(0, color="#888888", linewidth=0.6)
    axis.set_title(f"{one['of']}: mean {one['mean']:.2g}, {100 * one['below_zero']:.0f} % below 0", fontsize=7)


def opposed(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Share of measured decisions in which two gradients conflict, and in which the update opposes a task."""
    rows = {}
    for label, own in by_label(runs).items():
        measured = sum(run.conflicts.measured for run in own)
        if not measured:
            continue
        shares = {}
        for when in ("before", "after"):
            parts = [(getattr(run.conflicts, when), run.conflicts.measured) for run in own]
            known = [(share, count) for share, count in parts if share is not None]
            shares[when] = sum(s * n for s, n in known) / sum(n for _, n in known) if known else None
        cosines = [value for run in own for phase in run.phases.values() for value in phase.cosine_before]
        rows[label] = {**shares, "measured": measured, "mean_cosine": float(np.mean(cosines)) if cosines else None}
    return {"methods": rows} if rows else None


def draw_opposed(shown: Mapping[str, Any]) -> Figure:
    """Two bars a method."""
    rows = shown["methods"]
    figure, [[axis]] = canvas(1, 1, width=7, height=0.7 + 0.36 * len(rows))
    places = np.arange(len(rows))[::-1]
    for offset, when, colour, name in (
        (0.19, "before", "#bbbbbb", "the two gradients conflict"),
        (-0.19, "after", "#ee6677", "the update opposes a task"),
    ):
        values = [100 * (row[when] or 0) for row in rows.values()]
        axis.barh(places + offset, values, height=0.36, color=colour, label=name)
        for place, value in zip(places, values, strict=True):
            axis.text(value + 0.8, place + offset, f"{value:.0f}", va="center", fontsize=7)
    names = [
        label if row["mean_cosine"] is None else f"{label} (mean cosine {row['mean_cosine']:.2f})"
        for label, row in rows.items()
    ]
    axis.set_yticks(places, names, fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_xlim(0, 112)
    axis.set_xlabel("% of measured decisions", fontsize=8)
    figure.legend(fontsize=7, loc="outside lower center", ncols=2)
    return figure
