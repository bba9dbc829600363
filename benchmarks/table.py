"""The table of a comparison, once as cells and then as text, Markdown or JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.results import Results
from benchmarks.schema import Versions
from benchmarks.stats import Difference, Row, Spread

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
HEADING_WIDTH = 10


def headings(results: Results) -> list[str]:
    """Of the cells, in order."""
    return [
        "method",
        f"final {results.metric}",
        f"vs {results.suite.baseline} [95 %]",
        "conflicts",
        "step time",
        "runs",
        f"{results.metric} at best validation",
    ]


def cells(row: Row) -> list[str]:
    """One row as text."""
    name = row.label if row.selected is None else f"{row.label}: {row.selected}"
    return [
        name,
        _spread(row.final),
        _difference(row.difference),
        _conflicts(row),
        NONE if row.step_time is None else f"{row.step_time:.2f}x",
        _runs(row.statuses),
        _spread(row.best),
    ]


def show(results: Results, console: Console) -> None:
    """Print a table per arm."""
    for arm in results.arms:
        table = Table(title=arm.title, title_justify="left", title_style="bold", header_style="dim", box=None)
        table.collapse_padding, table.pad_edge = True, False
        for k, heading in enumerate(headings(results)):
            # headings give way, numbers do not
            narrow = textwrap.fill(heading, HEADING_WIDTH, break_long_words=False)
            table.add_column(narrow, justify="right" if k else "left", no_wrap=True)
        for row in results.rows[arm.name]:
            style = "dim" if row.role == "reference" else "bold" if row.selected else ""
            table.add_row(*(Text(cell, style=style) for cell in cells(row)))
        console.print()
        console.print(table)
    console.print()
    for note in notes(results):
        console.print(Text(note, style="dim"), soft_wrap=True)


def markdown(results: Results) -> str:
    """The tables as a Markdown document that can be committed."""
    parts = [f"# {results.suite.title}", results.suite.description.strip()]
    head = headings(results)
    for arm in results.arms:
        lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
        lines += [f"| {' | '.join(cells(row))} |" for row in results.rows[arm.name]]
        parts += [f"## {arm.title}", "\n".join(lines)]
    parts += ["\n".join(f"- {note}" for note in notes(results))]
    return "\n\n".join(parts) + "\n"


def summary(results: Results) -> str:
    """The rows as JSON."""
    plain = {
        "suite": results.suite.model_dump(),
        "metric": results.metric,
        "arms": {name: [asdict(row) for row in rows] for name, rows in results.rows.items()},
        "notes": notes(results),
        "versions": [one.model_dump() for one in results.versions],
        "machines": [one.model_dump() for one in results.machines],
    }
    return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def notes(results: Results) -> list[str]:
    """What a reader has to know to read the numbers right."""
    seeds = sorted({run.seed for run in results.runs})
    steps = "the task's own number of" if results.suite.steps is None else results.suite.steps
    texts = [
        f"Seeds {_listed(seeds)}; {steps} steps; mean ± sample standard deviation over the runs that ended ok.",
        "Differences are paired by seed, with the 95 % t-interval of their mean: wide when seeds are few.",
        "Final: the last step. Best validation: the step with the highest validation score; it sees no target label.",
        "Conflicts: share of measured decisions whose gradients conflict → whose direction conflicts with a task.",
        f"Step time: median of a whole training step, in units of {results.suite.baseline}, same seed.",
    ]
    if any(run.jobs > 1 for run in results.runs):
        texts.append(
            "Runs shared the machine, so step times are rough; `python -m benchmarks speed` measures them alone."
        )
    if any(row.selected for rows in results.rows.values() for row in rows):
        texts.append("A row `group: label` is the candidate of its group with the best validation score.")
    texts += [_version_text(versions) for versions in results.versions]
    if len({one.code for one in results.versions}) > 1:
        texts.append("Attention: these runs were made by more than one version of the code.")
    texts += [results.machine_text(machine) for machine in results.machines]
    if results.ignored:
        texts.append(f"Left out: {results.ignored} result files of other settings or that cannot be read.")
    return texts


def _version_text(versions: Versions) -> str:
    changes = " with changes" if versions.dirty else ""
    commit = "no commit" if versions.commit is None else f"commit {versions.commit[:10]}{changes}"
    return f"mtlgrad {versions.mtlgrad} ({commit}, code {versions.code}), torch {versions.torch}."


def _listed(seeds: Sequence[int]) -> str:
    whole_range = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if whole_range else ", ".join(map(str, seeds))


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return NONE
    deviation = "" if spread.std is None else f" ± {spread.std:.1f}"
    return f"{spread.mean:.1f}{deviation}"


def _runs(statuses: Mapping[str, int]) -> str:
    """A number, and what did not go well.

    >>> _runs({"ok": 5}), _runs({"ok": 4, "diverged": 1})
    ('5', '4 of 5 (1 diverged)')
    """
    ok, total = statuses.get("ok", 0), sum(statuses.values())
    bad = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()) if status != "ok")
    return f"{ok} of {total} ({bad})" if bad else str(ok)


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return NONE
    if difference.low is None or difference.high is None:
        return _signed(difference.mean)
    return f"{_signed(difference.mean)} [{_signed(difference.low)}, {_signed(difference.high)}]"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", MINUS)


def _conflicts(row: Row) -> str:
    if row.conflicts_before is None:
        return NONE
    after = NONE if row.conflicts_after is None else f"{100 * row.conflicts_after:.0f} %"
    return f"{100 * row.conflicts_before:.0f} % → {after}"
