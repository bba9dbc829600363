"""What a trained system sees and says: features of both domains, and which classes it takes for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.manifold import TSNE

from mtlgrad.compare.schema import Run
from tasks.uda.analyses.runs import by_label, canvas

FEATURES = "features"
"""The exhibit that holds features of both domains."""
CONFUSION = "confusion"
"""The exhibit that holds the confusion matrix of the target."""
MOST_NAMED = 20
"""Classes that can have colours, and names in a legend, of their own; of more, colours repeat."""


def features(runs: Sequence[Run]) -> dict[str, Any] | None:
    """t-SNE of the features that the first seed of each method left, both domains together.

    Classes go by their names where the confusion matrix of the same run has them.
    """
    shown = {}
    for label, own in by_label(runs).items():
        stored = own[0].exhibits.get(FEATURES)
        if stored is not None:
            rows = np.array(stored["values"])
            perplexity = min(30.0, (len(rows) - 1) / 3)
            placed = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(rows)
            classes = own[0].exhibits.get(CONFUSION, {}).get("classes")
            shown[label] = {
                "seed": own[0].seed,
                "x": placed[:, 0].round(3).tolist(),
                "y": placed[:, 1].round(3).tolist(),
                "domain": stored["domain"],
                "label": [value if classes is None else classes[value] for value in stored["label"]],
            }
    return {"methods": shown} if shown else None


def draw_features(shown: Mapping[str, Any]) -> Figure:
    """Two panels a method, coloured by domain and by class; two methods a row."""
    methods = shown["methods"]
    across = min(2, len(methods))
    figure, axes = canvas(-(-len(methods) // across), 2 * across, width=2.9, height=2.6)
    panels: list[Any] = [axis for row in axes for axis in row]
    classes = dict.fromkeys(name for points in methods.values() for name in sorted(set(points["label"])))
    domains = dict.fromkeys(name for points in methods.values() for name in points["domain"])
    few = len(classes) <= MOST_NAMED
    colormap = colormaps["tab20" if len(classes) > 10 else "tab10"]
    colours = {
        "domain": dict(zip(domains, ("#4477aa", "#ee6677"), strict=True)),
        "label": {name: colormap(k % MOST_NAMED) for k, name in enumerate(classes)},
    }
    for (label, points), left, right in zip(methods.items(), panels[::2], panels[1::2], strict=False):
        _scatter(left, points, colours, "domain", f"{label}, seed {points['seed']}")
        _scatter(right, points, colours, "label", f"{label}, by class{'' if few else ' (colours repeat)'}")
    for axis in panels[2 * len(methods) :]:
        axis.set_visible(False)
    named = {
        **colours["domain"],
        **({f"class {name}": colour for name, colour in colours["label"].items()} if few else {}),
    }
    marks = [Line2D([], [], color=colour, marker="o", linestyle="", markersize=4) for colour in named.values()]
    figure.legend(marks, named.keys(), loc="outside lower center", ncols=3 * across, fontsize=7)
    return figure


def _scatter(axis: Any, points: Mapping[str, Any], colours: Mapping[str, Any], by: str, title: str) -> None:
    axis.scatter(points["x"], points["y"], s=6, c=[colours[by][value] for value in points[by]], linewidths=0)
    axis.set_title(title, fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])


def confusion(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Rows of the target's confusion matrix, in percent of a true class, averaged over seeds; None: no such image."""
    shown = {}
    for label, own in by_label(runs).items():
        stored = [run.exhibits[CONFUSION] for run in own if CONFUSION in run.exhibits]
        if stored:
            counts = np.array([one["values"] for one in stored], dtype=float)
            totals = counts.sum(axis=2, keepdims=True)
            seeds = (totals > 0).sum(axis=0)  # in which the class is there
            shares = (100 * counts / totals.clip(min=1)).sum(axis=0) / seeds.clip(min=1)
            rows = [
                row if some else [None] * len(row) for row, some in zip(shares.round(2).tolist(), seeds, strict=True)
            ]
            shown[label] = {"classes": stored[0]["classes"], "percent": rows}
    return {"methods": shown} if shown else None


def draw_confusion(shown: Mapping[str, Any]) -> Figure:
    """A matrix a method: true classes down, predicted ones across."""
    methods = shown["methods"]
    columns = min(4, len(methods))
    figure, axes = canvas(-(-len(methods) // columns), columns, width=3.1, height=3.1)
    panels: list[Any] = [axis for row in axes for axis in row]
    for axis, (label, one) in zip(panels, methods.items(), strict=False):
        _matrix(axis, label, one)
    for axis in panels[len(methods) :]:
        axis.set_visible(False)
    return figure


def _matrix(axis: Any, label: str, one: Mapping[str, Any]) -> None:
    values, names = np.array(one["percent"], dtype=float), one["classes"]
    axis.imshow(values, cmap="Blues", vmin=0, vmax=100)
    few = len(names) <= 12
    for i, j in zip(*np.nonzero(values >= 1), strict=True):
        if few:
            colour = "white" if values[i, j] > 55 else "black"
            axis.text(j, i, f"{values[i, j]:.0f}", ha="center", va="center", fontsize=5.5, color=colour)
    turned = 90 if max(len(str(name)) for name in names) > 2 else 0
    axis.set_xticks(range(len(names)) if few else [], names if few else [], fontsize=6, rotation=turned)
    axis.set_yticks(range(len(names)) if few else [], names if few else [], fontsize=6)
    axis.set_title(f"{label}: {np.nanmean(np.diag(values)):.1f} %, mean of classes", fontsize=8)
    axis.set_xlabel("predicted", fontsize=7)
    axis.set_ylabel("true", fontsize=7)
