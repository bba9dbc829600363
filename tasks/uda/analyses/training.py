"""What changes over a run: accuracy, and how far the domains and the classes lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mtlgrad.compare.schema import Run
from tasks.uda.analyses.runs import by_label, canvas, looks, spread, systems

MOST_BANDS = 4
"""Methods whose spread can be drawn in one panel before the bands hide the lines."""
MOST_MARKS = 10
"""Evaluations of a run that are marked one by one."""


def convergence(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Accuracy on the target and on the source, mean and spread over seeds."""
    return _curves(runs, {"accuracy": "target accuracy (%)", "source_accuracy": "source accuracy (%)"})


def alignment(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The MMD between the domains' features, and max J(W) of the target's."""
    return _curves(runs, {"mmd": "MMD of the features", "separability": "max J(W) on the target"})


def _curves(runs: Sequence[Run], metrics: Mapping[str, str]) -> dict[str, Any] | None:
    panels: dict[str, Any] = {}
    for metric, name in metrics.items():
        lines = {}
        for label, own in by_label(runs).items():
            steps = sorted({point.step for run in own for point in run.curve})
            line: dict[str, list[float]] = {"step": [], "mean": [], "std": []}
            for step in steps:
                found = [point.metrics.get(metric) for run in own for point in run.curve if point.step == step]
                values = [value for value in found if value is not None]
                if values:
                    mean, std = spread(values)
                    line["step"].append(step)
                    line["mean"].append(mean)
                    line["std"].append(std)
            if line["step"]:
                lines[label] = line
        if lines:
            panels[metric] = {"of": name, "lines": lines}
    return {"systems": systems(runs), "panels": panels} if panels else None


def draw(shown: Mapping[str, Any]) -> Figure:
    """A panel a metric, a line a method; where methods are few, its band one standard deviation over seeds."""
    panels = shown["panels"]
    most = max(len(panel["lines"]) for panel in panels.values())
    columns = 4 if len(panels) > 1 else 3
    figure, [axes] = canvas(1, len(panels), width=4.8, height=3.3 + 0.17 * -(-most // columns))
    style = looks(shown["systems"])
    for axis, panel in zip(axes, panels.values(), strict=True):
        _panel(axis, panel, style, bands=most <= MOST_BANDS)
    named = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns, fontsize=7, handlelength=3.2)
    return figure


def _panel(axis: Any, panel: Mapping[str, Any], style: Mapping[str, Mapping[str, str]], *, bands: bool) -> None:
    for label, line in panel["lines"].items():
        marker = "." if len(line["step"]) <= MOST_MARKS else ""  # a single evaluation makes no line
        axis.plot(line["step"], line["mean"], linewidth=1.3, marker=marker, label=label, **style[label])
        if not bands:
            continue
        low = [m - s for m, s in zip(line["mean"], line["std"], strict=True)]
        high = [m + s for m, s in zip(line["mean"], line["std"], strict=True)]
        axis.fill_between(line["step"], low, high, color=style[label]["color"], alpha=0.12, linewidth=0)
    spreads = (
        ", band: standard deviation over seeds" if bands and any(any(o["std"]) for o in panel["lines"].values()) else ""
    )
    axis.set_xlabel(f"step{spreads}", fontsize=8)
    axis.set_ylabel(panel["of"], fontsize=8)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.tick_params(labelsize=7)
