"""What the figures share: runs by method, their systems, means with their spread, colours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mtlgrad.compare.schema import Run
from mtlgrad.compare.statistics.moments import deviation, mean
from tasks.uda.systems import SYSTEMS

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#aa3377", "#66ccee", "#888888", "#000000")
"""Tol's bright scheme: distinct for colour-blind readers."""
STYLES = ("-", "--", ":", "-.")


def by_label(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The good runs of each method, in order of appearance, seeds ascending."""
    grouped: dict[str, list[Run]] = {run.label: [] for run in runs if run.status == "ok"}
    for run in sorted((run for run in runs if run.status == "ok"), key=lambda run: run.seed):
        grouped[run.label].append(run)
    return grouped


def systems(runs: Sequence[Run]) -> dict[str, str]:
    """The name of the system that each method of an arm trains.

    Methods train the same system when their problem options are the same: then only what joins the gradients differs,
    and they can be compared. Where systems of other options have one title, its name goes on with these options.
    """
    options = {
        label: {"problem": own[0].problem, **own[0].all_problem_options, **own[0].problem_options}
        for label, own in by_label(runs).items()
    }
    titles = {label: _title(one) for label, one in options.items()}
    return {label: _name(titles[label], one, _namesakes(label, titles, options)) for label, one in options.items()}


def _title(options: Mapping[str, Any]) -> str:
    system = SYSTEMS.get(options.get("method", ""))
    return options["problem"] if system is None else system.title


def _namesakes(label: str, titles: Mapping[str, str], options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [options[other] for other, title in titles.items() if title == titles[label]]


def _name(title: str, own: Mapping[str, Any], namesakes: Sequence[Mapping[str, Any]]) -> str:
    keys = dict.fromkeys(key for one in namesakes for key in one)
    apart = [f"{key} {own.get(key)}" for key in keys if any(one.get(key) != own.get(key) for one in namesakes)]
    return f"{title} ({', '.join(apart)})" if apart else title


def final(run: Run) -> float:
    """The main metric at the end of a good run."""
    assert run.metrics is not None
    value = run.metrics.final[run.metric]
    assert value is not None
    return value


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation over seeds; the latter is 0 for a single one."""
    return mean(values), deviation(values) if len(values) > 1 else 0.0


def looks(systems: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Colour and line style of each method.

    Where several systems have several methods each, a system is a colour and its methods are line styles. Elsewhere
    each method has a colour of its own for as long as there are colours.
    """
    sizes = Counter(systems.values())
    places = {label: (k, 0) for k, label in enumerate(systems)}
    several = sum(size > 1 for size in sizes.values()) > 1
    if several and len(sizes) <= len(COLOURS) and max(sizes.values()) <= len(STYLES):
        names = list(sizes)
        members = {name: [label for label in systems if systems[label] == name] for name in names}
        places = {label: (names.index(name), members[name].index(label)) for label, name in systems.items()}
    return {
        label: {"color": COLOURS[k % len(COLOURS)], "linestyle": STYLES[(row + k // len(COLOURS)) % len(STYLES)]}
        for label, (k, row) in places.items()
    }


def canvas(rows: int, columns: int, *, width: float, height: float) -> tuple[Figure, list[list[Any]]]:
    """A figure of equal panels, each `width` by `height` inches, and its axes by row and column."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes: list[list[Any]] = figure.subplots(rows, columns, squeeze=False).tolist()
    return figure, axes
