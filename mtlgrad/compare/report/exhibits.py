"""Figures of what problems exhibit, side by side for the methods compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

STARTS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#aa3377", "#66ccee")
"""One hue per start: Tol's bright scheme, distinct for colour-blind readers, on paper and on a dark screen."""
NEUTRAL = "rgba(128, 128, 128, 0.9)"
"""Lines and text that must read on white and on black."""
FRONT = "rgb(150, 150, 150)"
LEVELS = "rgba(128, 128, 128, 0.4)"

_COLUMNS = 4
_PANEL_PX = 250  # height of a panel with its title


def trajectories(panels: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """Small multiples of descents: a panel per method, a line per start, axes shared.

    Parameters
    ----------
    panels:
        Label to exhibit of kind "trajectories", of one problem. `paths` [starts][points][2] and `front` [points][2]
        lie in the plane of `axes`; `reached` tells per start whether it ended on the front; `contours` holds z[row][
        column] over x and y, or is None.

    >>> line = [[0.0, 0.0], [1.0, 1.0]]
    >>> one = {"axes": ["x1", "x2"], "starts": [0], "paths": [line], "reached": [True], "front": line, "contours": None}
    >>> [trace.name for trace in trajectories({"sum": one, "MGDA": one}).data]
    ['Pareto set', 'start 0', 'Pareto set', 'start 0']
    """
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=[_title(label, exhibit) for label, exhibit in panels.items()],
        horizontal_spacing=0.02,
        vertical_spacing=0.16 / rows,
    )
    for k, exhibit in enumerate(panels.values()):
        for trace in _panel(exhibit, legend=k == 0):
            figure.add_trace(trace, row=k // columns + 1, col=k % columns + 1)
    first = next(iter(panels.values()))
    across, up = first["axes"]
    for k in range(len(panels)):
        row, column = k // columns + 1, k % columns + 1
        lowest = k + columns >= len(panels)
        figure.update_xaxes(title_text=across if lowest else None, showticklabels=lowest, row=row, col=column)
    figure.update_yaxes(title_text=up, col=1)
    low, high = _extent(list(panels.values()))
    figure.update_xaxes(range=[low[0], high[0]], showgrid=False, zeroline=False, ticks="outside", tickcolor=NEUTRAL)
    figure.update_yaxes(range=[low[1], high[1]], showgrid=False, zeroline=False, ticks="outside", tickcolor=NEUTRAL)
    figure.update_xaxes(showline=True, linecolor=NEUTRAL, mirror=True, title_standoff=4)
    figure.update_yaxes(showline=True, linecolor=NEUTRAL, mirror=True, title_standoff=4)
    figure.update_annotations(font_size=13)
    figure.update_layout(
        height=rows * _PANEL_PX + 110,
        margin={"l": 50, "r": 10, "t": 30, "b": 90},
        legend={"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
        plot_bgcolor="rgba(0, 0, 0, 0)",
        paper_bgcolor="rgba(0, 0, 0, 0)",
    )
    return figure


def legend(exhibit: Mapping[str, Any]) -> str:
    """What the marks of `trajectories` mean."""
    lines = "" if exhibit["contours"] is None else f" Thin lines: levels of {exhibit['contours']['of']}."
    return (
        "Ring: a start. Disc: where it ended, on the Pareto set; cross: where it ended, off it. "
        f"Beside each name: how many of the starts reached the set.{lines}"
    )


def _title(label: str, exhibit: Mapping[str, Any]) -> str:
    return f"{label} · {sum(exhibit['reached'])}/{len(exhibit['reached'])}"


def _panel(exhibit: Mapping[str, Any], *, legend: bool) -> list[go.Contour | go.Scatter]:
    """Landscape, Pareto set, a line per start with its two ends."""
    traces: list[go.Contour | go.Scatter] = []
    contours = exhibit["contours"]
    if contours is not None:
        traces.append(
            go.Contour(
                x=contours["x"],
                y=contours["y"],
                z=contours["z"],
                ncontours=22,
                contours_coloring="lines",
                colorscale=((0, LEVELS), (1, LEVELS)),
                line_width=0.8,
                showscale=False,
                hovertemplate=f"{contours['of']} = %{{z:.4g}}<extra></extra>",
            )
        )
    x, y = zip(*exhibit["front"], strict=True)
    traces.append(
        go.Scatter(
            x=x,
            y=y,
            mode="lines+markers",  # markers too: a Pareto set may be a single point
            name="Pareto set",
            legendgroup="front",
            showlegend=legend,
            line={"color": FRONT, "width": 6},
            marker={"color": FRONT, "size": 6, "opacity": 1},
            hoverinfo="skip",
        )
    )
    for start, path, reached in zip(exhibit["starts"], exhibit["paths"], exhibit["reached"], strict=True):
        colour = STARTS[start % len(STARTS)]
        x, y = zip(*path, strict=True)
        name = f"start {start}" if exhibit["contours"] is None else f"from ({x[0]:g}, {y[0]:g})"
        inside = len(path) - 2
        traces.append(
            go.Scatter(
                x=x,
                y=y,
                mode="lines+markers",
                name=name,
                legendgroup=name,
                showlegend=legend,
                line={"color": colour, "width": 2},
                # only the ends are marked: hollow where it starts, a disc where it reached the set, a cross where not
                marker={
                    "color": colour,
                    "size": [7, *[0] * inside, 9],
                    "symbol": ["circle-open", *["circle"] * inside, "circle" if reached else "x"],
                    "line": {"color": colour, "width": 2},
                    "opacity": 1,
                },
                hovertemplate=f"{name}<br>(%{{x:.4g}}, %{{y:.4g}})<extra></extra>",
            )
        )
    return traces


def _extent(exhibits: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """Corners that hold every path, with a margin; the landscape fills what it can."""
    points = [point for one in exhibits for path in [*one["paths"], one["front"]] for point in path]
    low, high = ([pick(point[axis] for point in points) for axis in (0, 1)] for pick in (min, max))
    margin = [0.06 * (b - a) or 1.0 for a, b in zip(low, high, strict=True)]
    return [a - d for a, d in zip(low, margin, strict=True)], [b + d for b, d in zip(high, margin, strict=True)]
