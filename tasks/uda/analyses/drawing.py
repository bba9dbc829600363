"""The files of the figures: PNG, SVG and, as JSON, what was drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from threadpoolctl import threadpool_limits

from mtlgrad.compare.results import Results
from mtlgrad.compare.schema import Run
from tasks.uda.analyses.runs import systems
from tasks.uda.analyses.table import ANALYSES


def draw_all(results: Results, folder: Path, *, only: Sequence[str] | None = None) -> Iterator[Path]:
    """Write `<arm>-<name>.png`, `.svg` and `.json` for all that these runs have something of; yields the PNGs."""
    folder.mkdir(parents=True, exist_ok=True)
    places = {label: k for k, label in enumerate(results.suite.labels)}
    runs = sorted(results.runs, key=lambda run: places[run.label])
    with threadpool_limits(1):  # threads of t-SNE that wait for busy cores make seconds into minutes
        for arm in results.arms:
            own = [run for run in runs if run.arm == arm.name]
            for name in only or ANALYSES:
                yield from _draw(name, own, arm.name, folder)


def _draw(name: str, runs: Sequence[Run], arm: str, folder: Path) -> Iterator[Path]:
    analysis = ANALYSES[name]
    data = analysis.data(runs)
    if data is None:
        return
    shown = {"title": analysis.title, "paper": analysis.shows, "arm": arm, "systems": systems(runs), **data}
    figure = analysis.draw(shown)
    figure.suptitle(f"{analysis.title} · {arm}", fontsize=10)
    stem = folder / f"{arm}-{name}"
    stem.with_name(f"{stem.name}.json").write_text(json.dumps(shown, indent=1) + "\n", encoding="utf-8")
    for kind in ("svg", "png"):
        figure.savefig(stem.with_name(f"{stem.name}.{kind}"), dpi=120)
        figure.set_layout_engine("none")  # laid out once, which is most of the work
    yield stem.with_name(f"{stem.name}.png")
