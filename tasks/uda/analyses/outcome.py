"""What a trained system sees and says: features of both domains, and which classes it takes for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from mtlgrad.compare.schema import Run
from tasks.uda.analyses.runs import by_label, canvas

FEATURES = "features"
"""The exhibit that holds features of both domains."""
CONFUSION = "confusion"
"""The exhibit that holds the confusion matrix of the target."""


def features(runs: Sequence[Run]) -> dict[str, Any] | None:
    """t-SNE of the features that the first seed of each method left, both domains together."""
    shown = {}
    for label, own in by_label(runs).items():
        stored = own[0].exhibits.get(FEATURES)
        if stored is not None:
            rows = np.array(stored["values"])
            perplexity = min(30.0, (len(rows) - 1) / 3)
            placed = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(rows)
            shown[label] = {
                "x": placed[:, 0].round(3).tolist(),
                "y": placed[:, 1].round(3).tolist(),
                "domain": stored["domain"],
                "label": stored["label"],
            }
    return {"methods": shown} if shown else None


def draw_features(shown: Mapping[str, Any]) -> Figure:
    """Two panels a method: coloured by domain, and by class."""
    methods = shown["methods"]
    figure, axes = canvas(len(methods), 2, width=3.4, height=3.0)
    for row, (label, points) in zip(axes, methods.items(), strict=True):
        _scatter(row[0], points, "domain", f"{label}: by domain")
        _scatter(row[1], points, "label", f"{label}: by class")
    return figure


def _scatter(axis: Any, points: Mapping[str, Any], by: str, title: str) -> None:
    values = np.array(points[by])
    x, y = np.array(points["x"]), np.array(points["y"])
    pair = ("#4477aa", "#ee6677")
    for k, value in enumerate(dict.fromkeys(points[by])):
        own = values == value
        colour = {"color": pair[k]} if by == "domain" else {"color": f"C{k % 10}"}
        axis.scatter(x[own], y[own], s=7, label=str(value), **colour)
    axis.set_title(title, fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.legend(fontsize=5, markerscale=1.2, ncols=1 if by == "domain" else 2, loc="best")


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
    axis.set_xticks(range(len(names)), names if few else [""] * len(names), fontsize=6)
    axis.set_yticks(range(len(names)), names if few else [""] * len(names), fontsize=6)
    axis.set_title(f"{label}: {np.nanmean(np.diag(values)):.1f} % a class", fontsize=8)
    axis.set_xlabel("predicted", fontsize=7)
    axis.set_ylabel("true", fontsize=7)
