"""Performance profiles: the share of runs above each score, over all arms, one curve a method."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from mtlgrad.compare.report.charts import colours
from mtlgrad.compare.results import Results
from mtlgrad.compare.scores import scores_of
from mtlgrad.compare.statistics import normalised, profiles, without_gaps


def performance_profiles(results: Results) -> go.Figure | None:
    """Of the main metric, scaled in every arm from its worst run to its best; None for a single arm, or no scores."""
    if len(results.arms) < 2 or not results.metrics:
        return None
    name, metric = next(iter(results.metrics.items()))
    rows = {
        row.label: row for found in results.rows.values() for row in found if row.role not in ("reference", "default")
    }
    known = scores_of(results.rows, results.runs, results.metrics)
    whole, _ = without_gaps(known[known["method"].isin(list(rows))], {name: metric.direction})
    shown = normalised(whole, name, metric.direction)
    if not shown:
        return None
    thresholds, curves = profiles(shown)
    hues = colours(results)
    figure = go.Figure()
    for label, shares in curves.items():
        figure.add_scatter(
            x=thresholds,
            y=100 * np.asarray(shares),
            mode="lines",
            line={"color": hues[rows[label].selected or label], "width": 2, "shape": "hv"},
            name=label,
            hovertemplate=f"{label}<br>above %{{x:.2f}}: %{{y:.0f}} % of runs<extra></extra>",
        )
    return figure.update_layout(
        height=380,
        margin={"l": 10, "r": 10, "t": 10, "b": 40},
        xaxis={"title": f"{name}, 0 the worst run of an arm, 1 its best", "range": [0, 1]},
        yaxis={"title": "runs above, %", "range": [0, 101], "automargin": True},
    )
