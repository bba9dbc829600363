"""What changes over a run: accuracy, and how far the domains and the classes lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mtlgrad.compare.schema import Run
from tasks.uda.analyses.runs import by_label, canvas, look, spread


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
    return {"panels": panels} if panels else None


def draw(shown: Mapping[str, Any]) -> Figure:
    """A panel a metric, a line a method, its band one standard deviation over seeds."""
    panels = shown["panels"]
    figure, [axes] = canvas(1, len(panels), width=4.6, height=3.6)
    for axis, panel in zip(axes, panels.values(), strict=True):
        _panel(axis, panel)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7)
    return figure


def _panel(axis: Any, panel: Mapping[str, Any]) -> None:
    for k, (label, line) in enumerate(panel["lines"].items()):
        axis.plot(line["step"], line["mean"], linewidth=1.3, label=label, **look(k))
        low = [m - s for m, s in zip(line["mean"], line["std"], strict=True)]
        high = [m + s for m, s in zip(line["mean"], line["std"], strict=True)]
        axis.fill_between(line["step"], low, high, color=look(k)["color"], alpha=0.1, linewidth=0)
    axis.set_xlabel("step", fontsize=8)
    axis.set_title(panel["of"], fontsize=9)
    axis.tick_params(labelsize=7)
