"""From runs to the rows of a table: means over seeds, paired differences, selection by validation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mtlgrad.compare.metrics import metrics_of
from mtlgrad.compare.schema import Run
from mtlgrad.compare.statistics import Pairs, Verdict
from mtlgrad.compare.statistics.moments import deviation, differences, mean
from mtlgrad.compare.suite import Suite

LEVEL = 0.95


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over seeds; no deviation from a single one."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """Paired by seed: mean and its two-sided 95 % t-interval, which takes two pairs."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """One method in one arm. Metrics are of the runs that ended ok; the counts tell how many did not."""

    label: str
    role: str
    selected_from: tuple[str, ...]
    """The eligible candidates of a group row; empty for a method of its own."""
    selected: str | None
    """Which candidate had the best mean validation score."""
    final: Spread | None
    """The main metric at the last step."""
    validation: Spread | None
    """The validation score at the last step, by which the candidate of a group is chosen."""
    difference: Difference | None
    """Of `final` to the baseline's."""
    columns: dict[str, Spread | None]
    """The suite's further metrics at the last step."""
    column_differences: dict[str, Difference | None]
    """Of `columns` to the baseline's."""
    best: Spread | None
    """The main metric at the step with the best validation score."""
    conflicts_before: float | None
    conflicts_after: float | None
    weights: dict[str, list[float]]
    """By phase, each task's mean weight in the update; of methods that have weights."""
    step_time: float | None
    """Median over seeds of the step time, in units of the baseline's."""
    step_ms: float | None
    statuses: dict[str, int]
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """By metric; none for the baseline, references and candidates."""


METRIC = "metric: "
"""Before the name of a further metric, as a column of the frame."""


def table_of(runs: Sequence[Run], main: str | None, further: Sequence[str] = ()) -> pd.DataFrame:
    """One line per run, with what is compared: the main metric as `final` and `best`, and the further ones.

    Every run has the same main metric here, whatever it called its own; a metric that a run does not have is None.
    """
    columns = ["arm", "label", "seed", "status", "weights", "final", "validation", "best", "before", "after", "step_ms"]
    columns += [METRIC + name for name in further]
    lines = [
        {
            "arm": run.arm,
            "label": run.label,
            "seed": run.seed,
            "status": run.status,
            "weights": {name: phase.weights_mean for name, phase in run.phases.items() if phase.weights_mean},
            "final": run.metrics.final.get(main) if run.metrics and main else None,
            "validation": run.metrics.final_validation if run.metrics else None,
            "best": run.metrics.best.get(main) if run.metrics and run.metrics.best and main else None,
            "before": run.conflicts.before,
            "after": run.conflicts.after,
            "step_ms": run.step_ms.median if run.step_ms else None,
            **{METRIC + name: run.metrics.final.get(name) if run.metrics else None for name in further},
        }
        for run in runs
    ]
    numbers = dict.fromkeys(columns[5:], float)
    return pd.DataFrame(lines, columns=columns).astype(numbers)


def rows(suite: Suite, runs: Sequence[Run]) -> dict[str, list[Row]]:
    """The rows of every arm, in suite order, groups after; methods without a run are left out."""
    return {arm: _rows_of_arm(suite, by_label) for arm, by_label in _by_arm_and_label(suite, runs).items()}


def group_notes(suite: Suite, runs: Sequence[Run]) -> list[str]:
    """Why a group has no row, for each that has none in an arm with runs."""
    choices = {
        (group, arm): _choose(labels, by_label)
        for arm, by_label in _by_arm_and_label(suite, runs).items()
        for group, labels in suite.groups.items()
        if by_label
    }
    return [
        f"No row `{group}` in {arm}: {choice.why_none}." for (group, arm), choice in choices.items() if choice.why_none
    ]


def _by_arm_and_label(suite: Suite, runs: Sequence[Run]) -> dict[str, dict[str, pd.DataFrame]]:
    """Arm to label to a frame with one line per seed."""
    main = next(iter(metrics_of(suite.metrics, runs)), None)
    frame = table_of(runs, main, suite.further)
    return {
        arm.name: {label: part.set_index("seed") for label, part in frame[frame.arm == arm.name].groupby("label")}
        for arm in suite.arms
    }


def _rows_of_arm(suite: Suite, by_label: dict[str, pd.DataFrame]) -> list[Row]:
    baseline = by_label.get(suite.baseline)
    found = [
        _row(row.label, row.role, by_label[row.label], baseline, is_baseline=row.label == suite.baseline)
        for row in suite.methods
        if row.label in by_label and row.role != "trial"
    ]
    for group, labels in suite.groups.items():
        choice = _choose(labels, by_label)
        if choice.selected is not None:
            found.append(
                _row(
                    group,
                    "method",
                    by_label[choice.selected],
                    baseline,
                    is_baseline=choice.selected == suite.baseline,
                    selected_from=choice.eligible,
                    selected=choice.selected,
                )
            )
    return found


@dataclass(frozen=True)
class _Choice:
    """Who stands for a group and who could have, or why nobody does."""

    selected: str | None = None
    eligible: tuple[str, ...] = ()
    why_none: str = ""


def _choose(labels: Sequence[str], by_label: dict[str, pd.DataFrame]) -> _Choice:
    missing = [label for label in labels if label not in by_label]
    if missing:  # what was not tuned is not called tuned
        return _Choice(why_none=f"no runs of {', '.join(missing)}")
    scores = eligible({label: by_label[label] for label in labels})
    if not scores:
        return _Choice(why_none="no candidate ended ok on every seed, with a validation score")
    selected = select(scores)
    if selected is None:
        return _Choice(why_none="its candidates have no seed in common")
    return _Choice(selected, tuple(scores))


def eligible(candidates: dict[str, pd.DataFrame]) -> dict[str, pd.Series]:
    """The validation scores, by seed, of the candidates of which every run ended ok with one."""
    return {
        label: part.validation
        for label, part in candidates.items()
        if (part.status == "ok").all() and part.validation.notna().all()
    }


def select(scores: dict[str, pd.Series]) -> str | None:
    """The candidate with the highest mean score over the seeds that all have, the first of equals; None without one."""
    common = pd.DataFrame(scores).dropna()
    if common.empty:
        return None
    means = common.mean()
    return max(scores, key=lambda label: float(means[label]))


def _row(
    label: str,
    role: str,
    part: pd.DataFrame,
    baseline: pd.DataFrame | None,
    *,
    is_baseline: bool = False,
    selected_from: tuple[str, ...] = (),
    selected: str | None = None,
) -> Row:
    ok = part[part.status == "ok"]
    compared = None if baseline is None else baseline[baseline.status == "ok"]
    reference = None if is_baseline else compared
    columns = [name for name in ok.columns if name.startswith(METRIC)]
    return Row(
        label=label,
        role=role,
        selected_from=selected_from,
        selected=selected,
        final=spread(ok.final),
        validation=spread(ok.validation),
        difference=_difference(ok, reference, "final"),
        columns={name.removeprefix(METRIC): spread(ok[name]) for name in columns},
        column_differences={name.removeprefix(METRIC): _difference(ok, reference, name) for name in columns},
        best=spread(ok.best),
        conflicts_before=_mean(ok.before),
        conflicts_after=_mean(ok.after),
        weights=_mean_weights(ok.weights),
        step_time=None if compared is None else _median((ok.step_ms / compared.step_ms).dropna()),
        step_ms=_median(ok.step_ms.dropna()),
        statuses={str(status): int(count) for status, count in part.status.value_counts().items()},
    )


def spread(values: pd.Series) -> Spread | None:
    """Mean and sample standard deviation of what is there."""
    values = values.dropna()
    if values.empty:
        return None
    return Spread(mean(values), deviation(values) if len(values) > 1 else None, len(values))


def paired_difference(values: pd.Series, baseline: pd.Series) -> Difference | None:
    """Mean of values - baseline over the index that both have, with its t-interval.

    >>> paired_difference(pd.Series([2.0, 4.0, 6.0]), pd.Series([1.0, 2.0, 3.0])).mean
    2.0
    """
    both = pd.DataFrame({"ours": values, "theirs": baseline}).dropna()
    if both.empty:
        return None
    pairs = Pairs(tuple(differences(both.ours, both.theirs).tolist()))
    assert pairs.mean is not None
    low, high = pairs.interval(LEVEL) or (None, None)
    return Difference(pairs.mean, low, high, pairs.n)


def _difference(ok: pd.DataFrame, reference: pd.DataFrame | None, name: str) -> Difference | None:
    return None if reference is None else paired_difference(ok[name], reference[name])


def _mean_weights(runs: Iterable[dict[str, list[float]]]) -> dict[str, list[float]]:
    """
    >>> _mean_weights([{"dssd": [1.0, 2.0]}, {"dssd": [3.0, 2.0]}, {}])
    {'dssd': [2.0, 2.0]}
    """
    found: dict[str, list[list[float]]] = {}
    for run in runs:
        for phase, weights in run.items():
            found.setdefault(phase, []).append(weights)
    return {phase: np.mean(weights, axis=0).tolist() for phase, weights in found.items()}


def _mean(values: pd.Series) -> float | None:
    values = values.dropna()
    return None if values.empty else float(values.mean())


def _median(values: pd.Series) -> float | None:
    return None if values.empty else float(values.median())
