"""Trade-offs: any two metrics against each other, with the methods that no other one beats on both."""

from __future__ import annotations

import plotly.graph_objects as go

from mtlgrad.compare.report.charts import NEUTRAL, colours
from mtlgrad.compare.results import Results
from mtlgrad.compare.rows import Row
from mtlgrad.compare.statistics import hypervolume, non_dominated
from mtlgrad.compare.suite import Arm


def trade_offs(results: Results, arm: Arm) -> list[tuple[str, go.Figure]]:
    """A caption and a figure for every two metrics."""
    names = list(results.metrics)
    return [
        found
        for k, first in enumerate(names)
        for second in names[k + 1 :]
        if (found := _trade_off(results, arm, first, second)) is not None
    ]


def _trade_off(results: Results, arm: Arm, first: str, second: str) -> tuple[str, go.Figure] | None:
    points = [
        (row, x, y)
        for row in results.rows[arm.name]
        if (x := _mean(row, first)) is not None and (y := _mean(row, second)) is not None
    ]
    if len(points) < 2:
        return None
    directions = [results.metrics[first].direction, results.metrics[second].direction]
    plane = [[x, y] for _, x, y in points]
    front = non_dominated(plane, directions)
    worst = [
        (min if direction == "max" else max)(point[k] for point in plane) for k, direction in enumerate(directions)
    ]
    hues = colours(results)
    figure = go.Figure()
    steps = sorted((plane[k] for k in front), key=lambda point: point[0])
    figure.add_scatter(
        x=[x for x, _ in steps],
        y=[y for _, y in steps],
        mode="lines",
        line={"color": NEUTRAL, "dash": "dot", "width": 1.5},
        hoverinfo="skip",
        showlegend=False,
    )
    for k, (row, x, y) in enumerate(points):
        figure.add_scatter(
            x=[x],
            y=[y],
            mode="markers+text",
            text=[row.label if k in front else ""],
            textposition="top center",
            marker={
                "color": hues[row.selected or row.label],
                "size": 11 if k in front else 8,
                "symbol": "diamond" if row.role == "reference" else "circle",
                "opacity": 1.0 if k in front else 0.6,
            },
            error_x={"type": "data", "array": [_std(row, first)], "thickness": 1, "width": 0},
            error_y={"type": "data", "array": [_std(row, second)], "thickness": 1, "width": 0},
            hovertemplate=f"{row.label}<br>{first} %{{x:.4g}}<br>{second} %{{y:.4g}}<extra></extra>",
            showlegend=False,
        )
    figure.update_layout(
        height=380,
        margin={"l": 10, "r": 16, "t": 20, "b": 40},
        xaxis={"title": _title(results, first), "automargin": True},
        yaxis={"title": _title(results, second), "automargin": True},
    )
    area = hypervolume(plane, worst, directions)
    names = ", ".join(points[k][0].label for k in front)
    return (
        f"Nobody is better on both than: {names}. Area that they cover, from the worst of each metric: {area:.3g}.",
        figure,
    )


def _title(results: Results, name: str) -> str:
    metric = results.metrics[name]
    arrow = "\N{RIGHTWARDS ARROW}" if metric.direction == "max" else "\N{LEFTWARDS ARROW}"
    return f"{name}{f' ({metric.unit})' if metric.unit else ''}, better {arrow}"


def _mean(row: Row, name: str) -> float | None:
    spread = row.columns.get(name)
    return None if spread is None else spread.mean


def _std(row: Row, name: str) -> float:
    spread = row.columns.get(name)
    return (spread.std or 0.0) if spread is not None else 0.0
