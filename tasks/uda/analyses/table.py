"""The figures by name.

A figure is two functions in a file: `data` picks from the runs of an arm what is shown (None: these runs have nothing
of it), and `draw` draws that and nothing else. Adding one is a file or a pair of functions, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from mtlgrad.compare.schema import Run
from tasks.uda.analyses import controls, cost, gradients, outcome, training

Data = dict[str, Any]


@dataclass(frozen=True)
class Analysis:
    """A figure of one arm of a comparison."""

    title: str
    shows: str
    """Which figure or table of the paper it answers to."""
    data: Callable[[Sequence[Run]], Data | None]
    draw: Callable[[Mapping[str, Any]], Figure]


ANALYSES: dict[str, Analysis] = {
    "gradients": Analysis(
        "Inner products and cosines of the two gradients", "Figs. 2 and 12", gradients.data, gradients.draw
    ),
    "opposed": Analysis(
        "Steps at which the update opposes a task", "Figs. 2 and 12", gradients.opposed, gradients.draw_opposed
    ),
    "features": Analysis("Features, by t-SNE", "Fig. 8", outcome.features, outcome.draw_features),
    "convergence": Analysis("Accuracy over training", "Fig. 9", training.convergence, training.draw),
    "confusion": Analysis("Confusion matrices", "Fig. 10", outcome.confusion, outcome.draw_confusion),
    "alignment": Analysis("MMD and max J(W) over training", "Fig. 11", training.alignment, training.draw),
    "time": Analysis("Time of a training step against the plain sum", "Table 6", cost.data, cost.draw),
    "negated": Analysis("Negated gradients", "Fig. 13", controls.negated, controls.draw_negated),
    "lambda": Analysis("lambda of GH++, in both of its forms", "Fig. 14", controls.lam, controls.draw_lam),
}
"""Name to analysis, in the order in which they are made."""
