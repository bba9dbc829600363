"""The table of a comparison, once as cells and then as text, Markdown or JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mtlgrad.compare.beside import HEADINGS as PUBLISHED
from mtlgrad.compare.beside import Beside, published_lines
from mtlgrad.compare.metrics import interval_text, rounded, spread_text
from mtlgrad.compare.missing import missing
from mtlgrad.compare.results import Results
from mtlgrad.compare.rows import Difference, Row, Spread, group_notes
from mtlgrad.compare.schema import Versions
from mtlgrad.compare.sensitivity import HEADINGS, tuned_rows
from mtlgrad.compare.sentences import headline, limitations, more, sentence, verdicts_of, word_of

NONE = "\N{EN DASH}"
HEADING_WIDTH = 10
FOLDER_OPTIONS = ("data_dir", "weights")
"""Options of problems that are folders of this machine."""


def headings(results: Results) -> list[str]:
    """Of the cells, in order."""
    return [
        "method",
        f"final {_with_unit(results, results.metric)}",
        f"vs {results.suite.baseline} [95 %]",
        "verdict (seeds to decide)",
        "conflicts",
        "step time",
        "runs",
        f"{results.metric} at best validation",
    ]


def _with_unit(results: Results, name: str) -> str:
    metric = results.metrics.get(name)
    return f"{name} ({metric.unit})" if metric is not None and metric.unit else name


def cells(results: Results, row: Row) -> list[str]:
    """One row as text."""
    return [
        _name(row),
        _spread(row.final),
        _difference(row.difference, row.final),
        _words(results, row),
        _conflicts(row),
        NONE if row.step_time is None else f"{row.step_time:.2f}x",
        _runs(row.statuses),
        _spread(row.best),
    ]


def metric_headings(results: Results) -> list[str]:
    """Of the table of further metrics; empty where the suite names none."""
    further = results.suite.further
    return ["method", *(_with_unit(results, name) for name in further)] if further else []


def metric_cells(row: Row) -> list[str]:
    """One row of the further metrics as text."""
    return [_name(row), *(_spread(value) for value in row.columns.values())]


def metric_difference_cells(row: Row) -> list[str]:
    """Their differences to the baseline's, as text."""
    return [_name(row), *(_difference(value, row.columns[name]) for name, value in row.column_differences.items())]


def show(results: Results, console: Console) -> None:
    """Print the verdict in a line, a table per arm, and what to run for more."""
    console.print()
    console.print(Text(headline(results), style="bold"), soft_wrap=True)
    for arm in results.arms:
        rows = results.rows[arm.name]
        console.print()
        console.print(_printed(arm.title, headings(results), rows, partial(cells, results)))
        if results.suite.further:
            console.print()
            console.print(_printed(f"{arm.title}, means at the last step", metric_headings(results), rows, _means))
    console.print()
    for text in more(results):
        console.print(Text(text), soft_wrap=True)
    for note in notes(results):
        console.print(Text(note, style="dim"), soft_wrap=True)


def markdown(results: Results, beside: Beside | None = None) -> str:
    """The tables as a Markdown document that can be committed."""
    parts = [f"# {results.title}", f"**{headline(results)}**", *more(results)]
    parts.append(results.suite.description.strip())
    for arm in results.arms:
        rows = results.rows[arm.name]
        parts += [f"## {arm.title}", piped(headings(results), [cells(results, row) for row in rows])]
        if results.suite.further:
            head, compared = metric_headings(results), [row for row in rows if row.difference is not None]
            parts += ["At the last step:", piped(head, [metric_cells(row) for row in rows])]
            parts += [
                f"vs {results.suite.baseline} [95 %]:",
                piped(head, [metric_difference_cells(r) for r in compared]),
            ]
        spoken = [text for row in rows if (text := sentence(results, row))]
        if spoken:
            parts.append("\n".join(f"- {text}" for text in spoken))
    if lines := published_lines(results, beside):
        parts += ["## Beside published figures", piped(PUBLISHED, lines)]
    if tuned := tuned_rows(results):
        parts += ["## Tuning", piped(HEADINGS, [one.cells() for one in tuned])]
    parts += ["## How to read this", "\n".join(f"- {note}" for note in notes(results))]
    parts += ["## What this comparison cannot tell", "\n".join(f"- {text}" for text in limitations(results))]
    return "\n\n".join(parts) + "\n"


def _printed(title: str, head: list[str], rows: Sequence[Row], text: Callable[[Row], list[str]]) -> Table:
    # Text throughout: brackets in titles and labels are no markup
    table = Table(title=Text(title), title_justify="left", title_style="bold", header_style="dim", box=None)
    table.collapse_padding, table.pad_edge = True, False
    for k, heading in enumerate(head):
        # headings give way, numbers do not
        narrow = textwrap.fill(heading, HEADING_WIDTH, break_long_words=False)
        table.add_column(Text(narrow), justify="right" if k else "left", no_wrap=True)
    for row in rows:
        style = "dim" if row.role == "reference" else "bold" if row.selected else ""
        table.add_row(*(Text(cell, style=style) for cell in text(row)))
    return table


def _means(row: Row) -> list[str]:
    """The further metrics without their deviations: ten columns of them have to fit a terminal."""
    return [_name(row), *(NONE if one is None else rounded(one.mean, one.std) for one in row.columns.values())]


def piped(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    rule = "|---" + "|---:" * (len(head) - 1) + "|"
    escaped = [[cell.replace("|", r"\|") for cell in line] for line in (head, *lines)]
    first, *rest = [f"| {' | '.join(line)} |" for line in escaped]
    return "\n".join([first, rule, *rest])


def _name(row: Row) -> str:
    return row.label if row.selected is None else f"{row.label}: {row.selected}"


def published(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they are published: a folder of this machine by its last name alone.

    >>> published({"data_dir": "/data/sets/mnist", "lr": 0.1})
    {'data_dir': 'mnist', 'lr': 0.1}
    """
    folders = {
        name: Path(value).name for name, value in options.items() if name in FOLDER_OPTIONS and isinstance(value, str)
    }
    return {**options, **folders}


def summary(results: Results) -> str:
    """The rows as JSON."""
    suite = results.suite.model_dump()
    suite["problem_options"] = published(suite["problem_options"])
    for arm in suite["arms"]:
        arm["options"] = published(arm["options"])
    for row in suite["methods"]:
        row["problem_options"] = published(row["problem_options"])
    plain = {
        "suite": suite,
        "metric": results.metric,
        "headline": headline(results),
        "verdicts": [
            {**asdict(one), "mean": one.pairs.mean, "interval": one.pairs.interval(), "seeds": one.seeds_to_decide}
            for one in verdicts_of(results)
        ],
        "limitations": limitations(results),
        "tuning": [asdict(one) for one in tuned_rows(results)],
        "arms": {name: [asdict(row) for row in rows] for name, rows in results.rows.items()},
        "notes": notes(results),
        "versions": [one.model_dump() for one in results.versions],
        "machines": [one.model_dump() for one in results.machines],
    }
    return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def notes(results: Results) -> list[str]:
    """What a reader has to know to read the numbers right."""
    seeds = sorted({run.seed for run in results.runs})
    steps = "the problem's own number of" if results.suite.steps is None else results.suite.steps
    if len(seeds) > 1:
        texts = [
            f"Seeds {_listed(seeds)}; {steps} steps; mean ± sample standard deviation over the runs that ended ok.",
            "Differences are paired by seed, with the 95 % t-interval of their mean: wide when seeds are few.",
            "Verdicts: paired t-tests with Holm's correction over all comparisons asked, at 5 %; equivalent: two "
            "one-sided tests within the margin. An interval is that of one comparison alone.",
        ]
    else:
        texts = [f"Seed {seeds[0]} alone; {steps} steps. A single seed has no deviation and no interval."]
    texts += [
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
    if any(one.baseline != results.suite.baseline for one in verdicts_of(results)):
        texts.append(
            "A verdict that names another row is against that row; all differences in the tables are to "
            f"{results.suite.baseline}."
        )
    texts += group_notes(results.suite, results.runs) + missing(results)
    texts += [_version_text(versions) for versions in results.versions]
    if results.several_codes:
        texts.append("Attention: these runs were made by more than one version of the code.")
    texts += [results.machine_text(machine) for machine in results.machines]
    texts += [f"{run.label}, {run.arm}, seed {run.seed}: {note}." for run in results.runs for note in run.notes]
    if results.ignored:
        texts.append(f"Left out: {results.ignored} result files of other settings or that cannot be read.")
    return texts


def _version_text(versions: Versions) -> str:
    return f"mtlgrad {versions.mtlgrad} ({versions.tree}, code {versions.code}), torch {versions.torch}."


def _listed(seeds: Sequence[int]) -> str:
    whole_range = len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1  # they are sorted, and each is there once
    return f"{seeds[0]} to {seeds[-1]}" if whole_range else ", ".join(map(str, seeds))


def _spread(spread: Spread | None) -> str:
    return NONE if spread is None else spread_text(spread.mean, spread.std)


def _runs(statuses: Mapping[str, int]) -> str:
    """A number, and what did not go well.

    >>> _runs({"ok": 5}), _runs({"ok": 4, "diverged": 1})
    ('5', '4 of 5 (1 diverged)')
    """
    ok, total = statuses.get("ok", 0), sum(statuses.values())
    bad = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()) if status != "ok")
    return f"{ok} of {total} ({bad})" if bad else str(ok)


def _difference(difference: Difference | None, of: Spread | None) -> str:
    """With its number of pairs where they are fewer than what `of` is the mean of."""
    if difference is None or of is None:
        return NONE
    fewer = "" if difference.n == of.n else f" (n = {difference.n})"
    return interval_text(difference.mean, difference.low, difference.high, of.std) + fewer


def _words(results: Results, row: Row) -> str:
    """The verdict of the main metric, the first that is judged; of an undecided one, how many seeds it would take.

    It stands beside the difference to the baseline, so that one against another row says so.
    """
    if not row.verdicts:
        return NONE
    first = next(iter(row.verdicts.values()))
    word = word_of(results, first)
    return word if first.seeds_to_decide is None else f"{word} ({first.seeds_to_decide})"


def _conflicts(row: Row) -> str:
    if row.conflicts_before is None:
        return NONE
    after = NONE if row.conflicts_after is None else f"{100 * row.conflicts_after:.0f} %"
    return f"{100 * row.conflicts_before:.0f} % → {after}"
