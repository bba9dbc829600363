"""Controls: gradients negated on purpose, and the share lambda of GH++ varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtlgrad.compare.schema import Run
from tasks.uda.analyses.runs import COLOURS, by_label, canvas, final, spread

FORMS = ("published", "rotation")


def negated(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Final accuracy where task 1's or task 2's gradient was negated, beside the plain sum and harmonization."""
    rows = {}
    seen = False
    for label, own in by_label(runs).items():
        if own[0].method == "negated" or own[0].method in ("sum", "gh", "ghpp"):
            seen = seen or own[0].method == "negated"
            mean, std = spread([final(run) for run in own])
            rows[label] = {"mean": mean, "std": std, "seeds": len(own)}
    return {"metric": runs[0].metric, "methods": rows} if seen else None


def draw_negated(shown: Mapping[str, Any]) -> Figure:
    """A bar a method, its whisker one standard deviation over seeds."""
    rows = shown["methods"]
    figure, [[axis]] = canvas(1, 1, width=6, height=0.8 + 0.3 * len(rows))
    _bars(axis, rows, shown["metric"])
    return figure


def _bars(axis: Any, rows: Mapping[str, Any], metric: str) -> None:
    places = np.arange(len(rows))[::-1]
    means, stds = ([row[key] for row in rows.values()] for key in ("mean", "std"))
    axis.barh(places, means, xerr=stds, color="#4477aa", ecolor="#888888")
    axis.set_yticks(places, list(rows), fontsize=8)
    axis.set_xlabel(f"final {metric}", fontsize=8)


def lam(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Final accuracy by lambda, a line for each form of GH++; at least two lambdas."""
    forms: dict[str, dict[float, list[float]]] = {form: {} for form in FORMS}
    for own in by_label(runs).values():
        for run in own:
            args = {"form": "published", "lam": 0.5, **run.all_method_args}
            if run.method == "ghpp" and isinstance(args["lam"], float | int):
                forms[args["form"]].setdefault(float(args["lam"]), []).append(final(run))
    lines = {}
    for form, found in forms.items():
        points = [(value, *spread(found[value])) for value in sorted(found)]
        if points:
            lines[form] = {key: [point[k] for point in points] for k, key in enumerate(("lam", "mean", "std"))}
    several = any(len(line["lam"]) > 1 for line in lines.values())
    return {"metric": runs[0].metric, "forms": lines} if several else None


def draw_lam(shown: Mapping[str, Any]) -> Figure:
    """A line a form, its whiskers one standard deviation over seeds."""
    figure, [[axis]] = canvas(1, 1, width=5, height=3.4)
    _lines(axis, shown)
    return figure


def _lines(axis: Any, shown: Mapping[str, Any]) -> None:
    for k, (form, line) in enumerate(shown["forms"].items()):
        axis.errorbar(line["lam"], line["mean"], yerr=line["std"], marker="o", capsize=2, color=COLOURS[k], label=form)
    axis.set_xlabel("lambda", fontsize=8)
    axis.set_ylabel(f"final {shown['metric']}", fontsize=8)
    axis.legend(fontsize=8)
