"""What tuning did: the budget of every row, what was chosen, and how much depended on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from mtlgrad.compare.labels import TRIAL, TUNED
from mtlgrad.compare.metrics import rounded
from mtlgrad.compare.results import Results
from mtlgrad.compare.schema import Run
from mtlgrad.compare.suite import Arm, MethodRow, Suite
from mtlgrad.compare.tuning import scores_of_trials

HEADINGS = ["method", "arm", "trials", "ended well", "chosen", "best validation", "median", "worst"]


@dataclass(frozen=True)
class Tuned:
    """One row in one arm."""

    label: str
    arm: str
    scores: list[float | None]
    """The mean validation score of every trial over the tuning seeds; None where one did not end well."""
    bad: dict[str, int]
    """How many trials diverged or failed on one of the seeds; a trial that did both counts as failed."""
    chosen: str
    """The settings with the best score; empty where none were chosen."""
    why_none: str
    """Why none were; else empty."""

    def cells(self) -> list[str]:
        known = sorted(score for score in self.scores if score is not None)
        # each to digits of its own: how far the worst lies off says nothing of how well the best is known
        found = [rounded(value, None) for value in (known[-1], median(known), known[0])] if known else ["\u2013"] * 3
        well = len(self.scores) - sum(self.bad.values())
        bad = ", ".join(f"{count} {status}" for status, count in self.bad.items() if count)
        ended = f"{well} ({bad})" if bad else str(well)
        return [self.label, self.arm, str(len(self.scores)), ended, self.chosen or f"none: {self.why_none}", *found]


def tuned_rows(results: Results) -> list[Tuned]:
    """Every row that was tuned, in every arm in which all its trials have runs."""
    tuning = results.suite.tuning
    if tuning is None:
        return []
    by_cell: dict[tuple[str, str], list[Run]] = {}
    for run in results.trials:
        by_cell.setdefault((run.arm, run.label), []).append(run)
    last = TRIAL.format("", tuning.trials)
    bases = [row.label.removesuffix(last) for row in results.suite.methods if row.label.endswith(last)]
    rows = {row.label: row for row in results.suite.methods}
    found = []
    for arm in results.suite.arms:
        for base in bases:
            runs = [by_cell.get((arm.name, TRIAL.format(base, k + 1)), []) for k in range(tuning.trials)]
            if not all(runs):
                continue
            scores = scores_of_trials(runs)
            statuses = [{run.status for run in some} for some in runs]
            bad = {
                "diverged": sum("diverged" in some and "failed" not in some for some in statuses),
                "failed": sum("failed" in some for some in statuses),
            }
            row = rows.get(TUNED.format(base), rows.get(base))
            if row is not None and row.role != "default" and arm.name in row.chosen:
                found.append(Tuned(row.label, arm.name, scores, bad, _settings(results.suite, arm, row), ""))
                continue
            why = "no trial that ended well has a validation score"
            if any(len(some) < len(tuning.seeds) for some in runs):
                why = "a trial has no run on one of its seeds yet"
            elif sum(bad.values()) == len(runs):
                why = "no trial ended well"
            found.append(Tuned(base, arm.name, scores, bad, "", why))
    return found


def _settings(suite: Suite, arm: Arm, row: MethodRow) -> str:
    """Learning rate first, then what was searched of the method."""
    assert suite.tuning is not None
    chosen, rate = row.chosen[arm.name], suite.tuning.learning_rate.option
    parts = [f"{rate} = {_plain(chosen.options[rate])}"]
    return ", ".join(parts + [f"{name} = {_plain(value)}" for name, value in chosen.args.items()])


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        return "(" + ", ".join(_plain(one) for one in value.values()) + ")"
    return "(" + ", ".join(map(_plain, value)) + ")" if isinstance(value, list | tuple) else str(value)
