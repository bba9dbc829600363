"""Controls: gradients negated on purpose, and the share lambda of GH++ varied. A panel for each system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtlgrad.compare.schema import Run
from tasks.uda.analyses.runs import COLOURS, by_label, canvas, final, spread, systems

FORMS = ("published", "rotation")
LAM = 0.5
"""The share that GH++ takes where it is not told another."""


def _by_system(runs: Sequence[Run]) -> dict[str, dict[str, list[Run]]]:
    """The good runs by system and method: a change of the system is not one of what joins the gradients."""
    grouped: dict[str, dict[str, list[Run]]] = {}
    names = systems(runs)
    for label, own in by_label(runs).items():
        grouped.setdefault(names[label], {})[label] = own
    return grouped


def _ghpp(run: Run) -> dict[str, Any]:
    """Form and share of a run of GH++."""
    return {"form": FORMS[0], "lam": LAM, **run.all_method_args, **run.method_args}


def negated(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Final accuracy where task 1's or task 2's gradient was negated, beside the same system without.

    Beside are the plain sum, GH, and GH++ with its usual share: the other shares are a figure of their own.
    """
    panels = {}
    for system, methods in _by_system(runs).items():
        rows = {}
        for label, own in methods.items():
            usual = own[0].method == "ghpp" and _ghpp(own[0])["lam"] == LAM
            if usual or own[0].method in ("negated", "sum", "gh"):
                mean, std = spread([final(run) for run in own])
                rows[label] = {"mean": mean, "std": std, "seeds": len(own)}
        if any(methods[label][0].method == "negated" for label in rows):
            panels[system] = rows
    return {"metric": runs[0].metric, "panels": panels} if panels else None


def draw_negated(shown: Mapping[str, Any]) -> Figure:
    """A bar a method, its whisker one standard deviation over seeds."""
    panels = shown["panels"]
    longest = max(len(rows) for rows in panels.values())
    figure, axes = canvas(len(panels), 1, width=6, height=1.0 + 0.3 * longest)
    for [axis], (system, rows) in zip(axes, panels.items(), strict=True):
        places = np.arange(len(rows))[::-1]
        means, stds = ([row[key] for row in rows.values()] for key in ("mean", "std"))
        axis.barh(places, means, xerr=stds, color="#4477aa", ecolor="#888888", capsize=2)
        axis.set_yticks(places, list(rows), fontsize=8)
        axis.tick_params(axis="x", labelsize=7)
        axis.set_title(system, fontsize=9)
        axis.set_xlabel(f"{_measured(shown['metric'])}, whiskers: standard deviation over seeds", fontsize=8)
    return figure


def lam(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Final accuracy by lambda for each form of GH++, of the systems that have at least two lambdas of a form."""
    panels = {}
    for system, methods in _by_system(runs).items():
        found: dict[str, dict[float, list[float]]] = {form: {} for form in FORMS}
        for run in (run for own in methods.values() for run in own if run.method == "ghpp"):
            args = _ghpp(run)
            if isinstance(args["lam"], float | int):
                found[args["form"]].setdefault(float(args["lam"]), []).append(final(run))
        lines = {form: _line(points) for form, points in found.items() if points}
        if any(len(line["lam"]) > 1 for line in lines.values()):
            panels[system] = lines
    return {"metric": runs[0].metric, "panels": panels} if panels else None


def _line(points: Mapping[float, Sequence[float]]) -> dict[str, list[float]]:
    rows = [(value, *spread(points[value])) for value in sorted(points)]
    return {key: [row[k] for row in rows] for k, key in enumerate(("lam", "mean", "std"))}


def draw_lam(shown: Mapping[str, Any]) -> Figure:
    """A line a form, its whiskers one standard deviation over seeds."""
    panels = shown["panels"]
    figure, [axes] = canvas(1, len(panels), width=4.4, height=3.4)
    for axis, (system, lines) in zip(axes, panels.items(), strict=True):
        for k, (form, line) in enumerate(lines.items()):
            style = {"marker": "os"[k], "markersize": 4, "capsize": 3, "color": COLOURS[k], "linestyle": ("-", "--")[k]}
            beside = [value + 0.01 * k for value in line["lam"]]  # or whiskers would hide one another
            axis.errorbar(beside, line["mean"], yerr=line["std"], label=form, **style)
        axis.set_title(system, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.set_xlabel("lambda; whiskers: standard deviation over seeds", fontsize=8)
        axis.set_ylabel(_measured(shown["metric"]), fontsize=8)
    named = {form: line for axis in axes for line, form in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=2, fontsize=7)
    return figure


def _measured(metric: str) -> str:
    unit = " (%)" if "accuracy" in metric else ""
    return f"final {metric}{unit}"
