"""The HTML report: one file that opens from disk, without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from mtlgrad.compare.beside import HEADINGS as PUBLISHED
from mtlgrad.compare.beside import Beside, published_lines
from mtlgrad.compare.report import charts, heatmaps
from mtlgrad.compare.report.panels import gather
from mtlgrad.compare.report.profiles import performance_profiles
from mtlgrad.compare.report.tradeoff import trade_offs
from mtlgrad.compare.results import Results
from mtlgrad.compare.schema import utc, write_atomically
from mtlgrad.compare.sensitivity import HEADINGS, tuned_rows
from mtlgrad.compare.sentences import WORDS, headline, limitations, more, sentence
from mtlgrad.compare.suite import Arm
from mtlgrad.compare.table import (
    cells,
    headings,
    metric_cells,
    metric_difference_cells,
    metric_headings,
    notes,
    published,
)
from mtlgrad.compare.together import together

PAGE = Path(__file__).parent / "template"


def write_report(results: Results, path: Path, beside: Beside | None = None) -> None:
    """Write the report of these results, atomically."""
    write_atomically(render(results, beside), path)


def render(results: Results, beside: Beside | None = None) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["figure"] = _figure_json
    environment.filters["marked"] = _marked
    return environment.get_template("report.html").render(
        suite=results.suite,
        title=results.title,
        headline=headline(results),
        more=more(results),
        limitations=limitations(results),
        together=together(results),
        profiles=performance_profiles(results),
        gradient_headings=heatmaps.HEADINGS,
        published=published_lines(results, beside),
        published_headings=PUBLISHED,
        tuning=tuned_rows(results),
        tuning_headings=HEADINGS,
        budget=results.suite.tuning,
        words=tuple(WORDS),
        facts=_facts(results),
        headings=headings(results),
        metric_headings=metric_headings(results),
        arms=[_arm(results, arm) for arm in results.arms],
        notes=notes(results),
        problems=[run for run in results.runs if run.status != "ok"],
        metric=results.metric,
        several=len({run.seed for run in results.runs}) > 1,
        style=Markup((PAGE / "style.css").read_text(encoding="utf-8")),
        script=Markup((PAGE / "page.js").read_text(encoding="utf-8")),
        plotly=Markup(get_plotlyjs()),
    )


def _facts(results: Results) -> dict[str, str]:
    """The header's facts, in order."""
    runs = results.runs
    seeds = sorted({run.seed for run in runs})
    counts = {status: sum(run.status == status for run in runs) for status in ("ok", "diverged", "failed")}
    versions = results.versions[-1]
    return {
        "problem": results.suite.problem,
        "seeds": ", ".join(map(str, seeds)),
        "steps": "the problem's own" if results.suite.steps is None else str(results.suite.steps),
        "runs": ", ".join(f"{count} {status}" for status, count in counts.items() if count),
        "machine": "; ".join(dict.fromkeys(f"{m.kind}, {m.memory_gb:.0f} GB" for m in results.machines)),
        "accelerator": ", ".join(dict.fromkeys(m.accelerator or "none" for m in results.machines)),
        "mtlgrad": f"{versions.mtlgrad}, {versions.tree}",
        "versions": f"torch {versions.torch}, NumPy {versions.numpy}, SciPy {versions.scipy}, Python {versions.python}",
        "begun": utc(min(run.started for run in runs)),
        "ended": utc(max(run.finished for run in runs)),
    }


def _arm(results: Results, arm: Arm) -> dict[str, Any]:
    """Everything the page shows of one arm."""
    rows = results.rows[arm.name]
    hues = charts.colours(results)
    options = published({**results.suite.problem_options, **arm.options})
    histograms = [
        {"label": row.label, "colour": hues[row.label], "caption": found[0], "figure": found[1]}
        for row in rows
        if row.selected is None and (found := charts.inner_products(results, arm, row)) is not None
    ]
    return {
        "name": arm.name,
        "title": arm.title,
        "options": ", ".join(f"{key} = {value}" for key, value in options.items()),
        "rows": [
            {
                "cells": cells(results, row),
                "metrics": metric_cells(row),
                "differences": metric_difference_cells(row),
                "row": row,
                "colour": hues[row.selected or row.label],
            }
            for row in rows
        ],
        "sentences": [
            {"word": next(iter(row.verdicts.values())).word, "text": sentence(results, row)}
            for row in rows
            if row.verdicts
        ],
        "trade_offs": trade_offs(results, arm),
        "bars": charts.final_bars(results, arm),
        "curves": [(name, charts.curves(results, arm, name)) for name in results.metrics],
        "times": charts.step_time_bars(results, arm),
        "histograms": histograms,
        "gradients": heatmaps.gradient_lines(results, arm),
        "heatmaps": [one for row in rows for one in heatmaps.heat_maps(results, arm, row)],
        "exhibits": gather(results, arm),
    }


def _marked(text: str) -> Markup:
    """A note as HTML: what stands between backticks is code.

    >>> str(_marked("a < b: see `speed <m>`"))
    'a &lt; b: see <code>speed &lt;m&gt;</code>'
    """
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if k % 2 else part for k, part in enumerate(parts))


def _figure_json(figure: go.Figure) -> Markup:
    """A figure inside <script type="application/json">: nothing in it may close the element."""
    plain = json.loads(figure.to_json())
    plain["layout"].pop("template", None)  # its colours are the page's business
    return Markup(json.dumps(plain, separators=(",", ":")).replace("<", "\\u003c"))
