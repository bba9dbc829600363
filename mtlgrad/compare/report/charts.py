"""The figures of the report. Colours of text and grids are left to the page, which follows light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from mtlgrad.compare.metrics import rounded, spread_text
from mtlgrad.compare.results import Results
from mtlgrad.compare.rows import Row
from mtlgrad.compare.schema import PhaseSamples, Run
from mtlgrad.compare.suite import Arm

PALETTE = (
    "#2f6fde", "#d1495b", "#12938a", "#7b56d6", "#e08a1e", "#3a9a4a",
    "#b0489e", "#8a6d3b", "#1aa3c9", "#9a9a22", "#e26d9b", "#5b6b8c",
    "#c4632f", "#58a58a",
)  # fmt: skip
"""Hues of middle lightness, which stand on white and on near-black."""
NEUTRAL = "#868d98"
"""The baseline, references, and everything before a method has acted."""
CANDIDATE = "#b9a27c"
"""The candidates of a group share a hue: they are one method, tuned."""
BINS = 41
ROW_PX = 30
LEGEND_PX = 29
LETTER_PX = 8
FEW = 6
"""So many bands may lie over each other before they must be fainter."""


def colours(results: Results) -> dict[str, str]:
    """One hue per method, the same in every figure."""
    suite = results.suite
    methods = [row for row in suite.methods if row.role not in ("reference", "trial") and row.label != suite.baseline]
    alone = [row.label for row in methods if row.group is None]
    chosen = {label: PALETTE[k % len(PALETTE)] for k, label in enumerate(alone)}
    candidates = {row.label: CANDIDATE for row in methods if row.group is not None}
    return {row.label: NEUTRAL for row in suite.methods} | candidates | chosen


def final_bars(results: Results, arm: Arm) -> go.Figure:
    """The main metric of every method, with its deviation and the single seeds; references as lines."""
    rows = _barred(results, arm)
    hues = colours(results)
    figure = go.Figure()
    for row in rows:
        assert row.final is not None
        name, hue = _name(row), hues[row.selected or row.label]
        figure.add_bar(
            y=[name],
            x=[row.final.mean],
            orientation="h",
            marker_color=hue,
            marker_opacity=0.85,
            error_x={"type": "data", "array": [row.final.std or 0.0], "thickness": 1.4, "width": 4, "color": "#5d636e"},
            hovertemplate=f"{name}<br>{spread_text(row.final.mean, row.final.std)} (n = {row.final.n})<extra></extra>",
        )
        seeds = [
            (run.seed, value)
            for run in _runs(results, arm, row)
            if run.status == "ok" and run.metrics and (value := run.metrics.final.get(results.metric)) is not None
        ]
        figure.add_scatter(
            y=[name] * len(seeds),
            x=[value for _, value in seeds],
            mode="markers",
            marker={"color": hue, "size": 5, "line": {"color": "white", "width": 1}},
            customdata=[(seed, rounded(value, row.final.std)) for seed, value in seeds],
            hovertemplate=f"{name}, seed %{{customdata[0]}}<br>%{{customdata[1]}}<extra></extra>",
        )
    for row in results.rows[arm.name]:
        if row.role == "reference" and row.final is not None:
            figure.add_vline(x=row.final.mean, line={"dash": "dash", "width": 1.5, "color": NEUTRAL})
            figure.add_annotation(
                x=row.final.mean,
                y=1,
                yref="paper",
                yanchor="bottom",
                text=f"{row.label} {rounded(row.final.mean, row.final.std)}",
                showarrow=False,
            )
    labels = {_name(row): rounded(row.final.mean, row.final.std) for row in rows if row.final is not None}
    return _bar_chart(figure, f"final {results.metric}", labels)


def step_time_bars(results: Results, arm: Arm) -> go.Figure:
    """The time of a training step, relative to the baseline's: bar by bar beside those of `final_bars`."""
    rows = _barred(results, arm)
    hues = colours(results)
    figure = go.Figure(
        go.Bar(
            y=[_name(row) for row in rows],
            x=[row.step_time for row in rows],
            orientation="h",
            marker_color=[hues[row.selected or row.label] for row in rows],
            marker_opacity=0.85,
            customdata=["" if row.step_ms is None else rounded(row.step_ms, None) for row in rows],
            hovertemplate="%{y}<br>%{customdata} ms a step<extra></extra>",
        )
    )
    figure.add_vline(x=1, line={"dash": "dash", "width": 1.5, "color": NEUTRAL})
    labels = {_name(row): "" if row.step_time is None else f"{row.step_time:.2f}x" for row in rows}
    return _bar_chart(figure, f"step time / {results.suite.baseline}", labels)


def _barred(results: Results, arm: Arm) -> list[Row]:
    """The rows that have a bar: references are lines, and what never ended well has no number."""
    return [row for row in results.rows[arm.name] if row.role != "reference" and row.final is not None]


def _bar_chart(figure: go.Figure, title: str, labels: Mapping[str, str]) -> go.Figure:
    """One layout for both bar charts, which stand side by side: a label for each bar, in order, from top to bottom.

    Labels stand in the right margin, where no bar or line covers them.
    """
    bars = len(labels)
    for name, text in labels.items():
        figure.add_annotation(y=name, x=1.0, xref="paper", xanchor="left", xshift=6, text=text, showarrow=False)
    right = max(50, 12 + LETTER_PX * max(map(len, labels.values()), default=0))
    return figure.update_layout(
        showlegend=False,
        height=ROW_PX * bars + 90,
        margin={"l": 10, "r": right, "t": 30, "b": 40},
        bargap=0.3,
        xaxis={"title": title, "rangemode": "tozero"},
        # from top to bottom; left to itself, the axis leaves room for the dots of one chart only
        yaxis={"range": [bars - 0.5, -0.5], "automargin": True, "showgrid": False},
    )


def curves(results: Results, arm: Arm, metric: str | None = None) -> go.Figure:
    """A metric, the main one by default, over training: mean over seeds, band of one standard deviation.

    Methods may be one and the same on a problem (GH and PCGrad for two tasks): a curve that lies on an earlier one is
    dotted, so that both are seen.
    """
    hues = colours(results)
    figure = go.Figure()
    rows = [row for row in results.rows[arm.name] if row.selected is None]
    grouped = {row.label for row in results.suite.methods if row.group is not None} - {results.suite.baseline}
    drawn: list[list[float]] = []
    for row in rows:
        runs = [run for run in _runs(results, arm, row) if run.status == "ok"]
        if not runs:
            continue
        shown = row.label not in grouped
        steps = [point.step for point in runs[0].curve]
        runs = [run for run in runs if [point.step for point in run.curve] == steps]  # a script logs when it likes
        shown_metric = metric or results.metric
        values = np.array([[point.metrics.get(shown_metric) for point in run.curve] for run in runs], dtype=float)
        if not np.isfinite(values).any():
            continue
        mean, std = values.mean(0), values.std(0, ddof=1) if len(runs) > 1 else np.zeros(len(steps))
        dash = "dash" if row.role == "reference" else "dot" if mean.tolist() in drawn else "solid"
        if shown:
            drawn.append(mean.tolist())
        figure.add_scatter(
            x=[*steps, *reversed(steps)],
            y=[*(mean + std), *reversed(mean - std)],
            mode="lines",
            fill="toself",
            fillcolor=_faint(hues[row.label], 0.12 if len(rows) <= FEW else 0.05),
            visible=True if shown else "legendonly",
            line_width=0,
            hoverinfo="skip",
            legendgroup=row.label,
            showlegend=False,
        )
        figure.add_scatter(
            x=steps,
            y=mean,
            mode="lines",
            name=row.label,
            legendgroup=row.label,
            line={"color": hues[row.label], "width": 2, "dash": dash},
            visible=True if shown else "legendonly",
            customdata=std,
            hovertemplate=f"{row.label}<br>step %{{x}}: %{{y:.4g}} ± %{{customdata:.2g}}<extra></extra>",
        )
    figure.update_layout(
        height=max(440, LEGEND_PX * len(rows) + 60),
        margin={"l": 10, "r": 10, "t": 10, "b": 40},
        xaxis={"title": "training step", "showgrid": False},
        yaxis={"title": metric or results.metric, "automargin": True},
        legend={"itemclick": "toggle", "itemdoubleclick": "toggleothers"},
        hovermode="closest",
    )
    return figure


def inner_products(results: Results, arm: Arm, row: Row) -> tuple[str, go.Figure] | None:
    """Histograms of g1 . g2 before and, where the method defines it, of g~1 . g~2 after; with a caption."""
    measured = [phase for run in _runs(results, arm, row) for phase in run.phases.values()]
    before = _numbers(measured, "inner_before")
    if not before.size:
        return None
    after = _numbers(measured, "inner_after")
    # the tails of inner products are long: 2 % of them are drawn in the outermost bins
    edge = float(np.quantile(np.abs(np.concatenate([before, after])), 0.98)) or 1.0
    edges = np.linspace(-edge, edge, BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    hue = colours(results)[row.label]
    figure = go.Figure()
    drawn = [("before", before, NEUTRAL, 0.5)] + ([("after", after, hue, 0.75)] if after.size else [])
    for name, values, colour, opacity in drawn:
        share = np.histogram(np.clip(values, -edge, edge), edges)[0] / len(values)
        figure.add_bar(
            x=middles,
            y=100 * share,
            width=edges[1] - edges[0],
            marker={"color": colour, "opacity": opacity, "line": {"width": 0}},
            hovertemplate=f"{name}: %{{y:.1f}} % at %{{x:.3g}}<extra></extra>",
        )
    figure.add_vline(x=0, line={"width": 1, "color": NEUTRAL})
    figure.update_layout(
        barmode="overlay",
        showlegend=False,
        height=170,
        margin={"l": 8, "r": 8, "t": 6, "b": 28},
        xaxis={"nticks": 4, "showgrid": False, "tickformat": ".1~g", "tickangle": 0},
        yaxis={"nticks": 4, "ticksuffix": " %", "automargin": True, "rangemode": "tozero"},
    )
    negative = f"{100 * (before < 0).mean():.0f} %"
    # A product of exactly orthogonal gradients is a rounding error of either sign.
    changed = f" → {100 * (after < -1e-6 * edge).mean():.0f} %" if after.size else ""
    return f"{negative}{changed}", figure


def _numbers(phases: Sequence[PhaseSamples], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([value for phase in phases for value in getattr(phase, name) if value is not None], dtype=float)


def _runs(results: Results, arm: Arm, row: Row) -> list[Run]:
    label = row.selected or row.label
    return [run for run in results.runs if (run.arm, run.label) == (arm.name, label)]


def _name(row: Row) -> str:
    return row.label if row.selected is None else f"{row.label}:<br>{row.selected}"


def _faint(colour: str, alpha: float) -> str:
    """
    >>> _faint("#0a0b0c", 0.5)
    'rgba(10,11,12,0.5)'
    """
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
