"""What tuning did: the budget of every row, what was chosen, and how much depended on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from mtlgrad.compare.metrics import rounded
from mtlgrad.compare.results import Results
from mtlgrad.compare.schema import Run
from mtlgrad.compare.stages import TRIAL, TUNED
from mtlgrad.compare.statistics.moments import evened
from mtlgrad.compare.tuning import best_of, scores_of_trials

HEADINGS = ["method", "arm", "trials", "ended well", "chosen", "best validation", "median", "worst"]


@dataclass(frozen=True)
class Tuned:
    """One row in one arm."""

    label: str
    arm: str
    scores: list[float | None]
    """The mean validation score of every trial over the tuning seeds; None where one did not end well."""
    chosen: str
    """The settings with the best score."""

    def cells(self) -> list[str]:
        known = sorted(evened([score for score in self.scores if score is not None]).tolist())
        # each to digits of its own: how far the worst lies off says nothing of how well the best is known
        found = [rounded(value, None) for value in (known[-1], median(known), known[0])] if known else ["\u2013"] * 3
        return [self.label, self.arm, str(len(self.scores)), str(len(known)), self.chosen, *found]


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
    found = []
    for arm in results.suite.arms:
        for base in bases:
            labels = [TRIAL.format(base, k + 1) for k in range(tuning.trials)]
            runs = [by_cell.get((arm.name, label), []) for label in labels]
            if not all(runs):
                continue
            scores = scores_of_trials(runs)
            best = best_of(scores)
            rate = tuning.learning_rate.option
            chosen = "none: no trial ended well" if best is None else _settings(runs[best][0], rate)
            label = TUNED.format(base) if TUNED.format(base) in results.suite.labels else base
            found.append(Tuned(label, arm.name, scores, chosen))
    return found


def _settings(run: Run, rate: str) -> str:
    """Learning rate first, then what was searched of the method."""
    parts = [f"{rate} = {_plain(run.problem_options[rate])}"]
    return ", ".join(parts + [f"{name} = {_plain(value)}" for name, value in run.method_args.items()])


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        return "(" + ", ".join(_plain(one) for one in value.values()) + ")"
    return "(" + ", ".join(map(_plain, value)) + ")" if isinstance(value, list | tuple) else str(value)
