"""What a comparison was asked for and does not have: rows that could not be made, metrics that no run has, and why."""

from __future__ import annotations

from mtlgrad.compare.controls import STEPS, tasks_of, unread
from mtlgrad.compare.labels import NAMED, TUNED, WEIGHTS, alone, at_equal_time, did_you_mean, listed
from mtlgrad.compare.results import Results
from mtlgrad.compare.schema import Run
from mtlgrad.compare.sensitivity import tuned_rows
from mtlgrad.compare.stages import is_constant
from mtlgrad.compare.suite import MethodRow


def missing(results: Results) -> list[str]:
    """A sentence for each thing that is not there."""
    late = [text for control in LATE if (text := _waits(results, control) or _not_shorter(results, control))]
    return [*_metrics(results), *_untuned(results), *_of_unknown_tasks(results), *late]


LATE = ("frozen", "equal time")
"""The controls whose rows are made from the finished runs of other rows."""


def unsettled(results: Results) -> set[str]:
    """The controls that a suite names and that settle nothing: their rows are not there, or not what they should be."""
    labels = {run.label for run in results.runs if run.status != "failed"}
    rows = {
        "random weights": "random weights" in labels,
        WEIGHTS: WEIGHTS in labels,
        "noise floor": "noise floor" in labels,
        "single task": any(label.startswith(alone("")) for label in labels),
        **{name: not (_waits(results, name) or _not_shorter(results, name)) for name in LATE},
    }
    return {name for name in results.suite.controls if not rows[name]}


def untuned_baseline(results: Results) -> str:
    """Why nothing is judged, where tuning has not come to a baseline; else empty."""
    suite = results.suite
    if suite.tuning is None or suite.baseline in suite.labels:
        return ""
    reasons = dict.fromkeys(_why(results, arm.name) for arm in results.arms)
    return f"Nothing is judged, as there is no {suite.baseline} to judge by: {'; '.join(reasons)}."


def _why(results: Results, arm: str) -> str:
    """Why there is no tuned baseline in an arm."""
    baseline = results.suite.baseline
    tried = [one for one in tuned_rows(results) if one.arm == arm and TUNED.format(one.label) == baseline]
    return tried[0].why_none if tried else "not all of its trials have runs"


def _metrics(results: Results) -> list[str]:
    """Metrics that the suite names and no run has: those that are judged, and those that get a table."""
    given = dict.fromkeys(name for run in results.runs if run.metrics for name in run.metrics.final)
    if not given:
        return []
    named = dict.fromkeys([*results.suite.metrics, *results.suite.columns])
    return [
        f"No run has a metric {name!r}{did_you_mean(name, list(given))}; there are: {', '.join(given)}."
        for name in named
        if name not in given
    ]


def _untuned(results: Results) -> list[str]:
    suite = results.suite
    if suite.tuning is None:
        return []
    texts = [
        f"No row `{suite.baseline}` in {arm.name}: {_why(results, arm.name)}. Nothing is judged there."
        for arm in results.arms
        if suite.cell(arm.name, suite.baseline) is None
    ]
    alike = (WEIGHTS, alone("")) if "single task" in suite.controls else (WEIGHTS,)  # they exist tuned only
    for one in tuned_rows(results):
        label = one.label if one.label.startswith(alike) else TUNED.format(one.label)
        if one.why_none and label != suite.baseline:
            texts.append(f"No row `{label}` in {one.arm}: {one.why_none}.")
    by_hand = [row.label for row in suite.methods if row.group is not None and row.role == "method"]
    if by_hand:
        texts.append(
            f"Not tuned: {listed(by_hand, most=NAMED)}. Candidates of a group have no trials; the row of the group is "
            "the best of settings that somebody wrote, beside rows that were tuned."
        )
    rate = suite.tuning.learning_rate.option
    if any(unread(run, rate) for run in results.trials):
        texts.append(
            f"The learning rate was not tuned: the problem never read its option {rate!r}, which had no effect."
        )
    return texts


def _of_unknown_tasks(results: Results) -> list[str]:
    """Controls that need to know the tasks, which the runs of some functions do not tell."""
    named = [name for name in (WEIGHTS, "single task") if name in results.suite.controls]
    ended = [run for run in results.runs if run.status != "failed"]
    if not named or not ended or tasks_of(ended) is not None:
        return []
    controls = listed([f"the control {name!r}" for name in named])
    return [
        f"No row of {controls}: no run tells which tasks there are. A function tells it if it makes its balancer "
        "by `run.balancer`."
    ]


def _waits(results: Results, control: str) -> str:
    """Which rows of a control are not made yet; empty where none is to come."""
    suite = results.suite
    if control not in suite.controls:
        return ""
    there: dict[tuple[str, str], set[int]] = {}
    for run in results.runs:
        if run.status != "failed":
            there.setdefault((run.arm, run.label), set()).add(run.seed)

    def lacks(row: MethodRow, arm: str) -> bool:
        return not set(row.seeds or suite.seeds) <= there.get((arm, row.label), set())

    base = next((row for row in suite.methods if row.label == suite.baseline), None)
    late = [
        row
        for row in suite.methods
        if row.role == "method"
        and row.label != suite.baseline
        and (suite.tuning is None or row.group is None)
        and not (control == "frozen" and is_constant(row))
    ]
    if base is None:
        return f"No row of the control '{control}': there is no row `{suite.baseline}`."
    if control == "equal time":
        late.append(base)
    waited = [
        row.label if len(results.arms) == 1 else f"{row.label} ({arm.name})"
        for arm in results.arms
        for row in late
        if (not row.chosen or arm.name in row.chosen) and lacks(row, arm.name)
    ]
    if not waited:
        return ""
    return (
        f"Rows of the control '{control}' are made once all of the suite's seeds have finished runs; some are missing "
        f"of {listed(waited, most=NAMED)}."
    )


def _not_shorter(results: Results, control: str) -> str:
    """Where rows at equal time are not what they should be, as the problem does not go by its option `steps`."""
    suite = results.suite
    if control != "equal time" or control not in suite.controls:
        return ""
    if any(unread(run, STEPS) for run in results.runs):
        return (
            f"No row at equal time: the problem never read its option {STEPS!r}, so that no run of it can be made as "
            "long as is wanted."
        )
    made = {(run.arm, run.label, run.seed): steps for run in results.runs if (steps := _made(run)) is not None}
    wrong = [
        at_equal_time(label)
        for (arm, label, seed), steps in made.items()
        if made.get((arm, at_equal_time(label), seed), 0) >= steps
    ]
    if not wrong:
        return ""
    return (
        f"{listed(list(dict.fromkeys(wrong)), most=NAMED)}: as many steps as at full length, where fewer were asked "
        f"for. The problem does not go by its option {STEPS!r}, and nothing is known of equal time."
    )


def _made(run: Run) -> int | None:
    return run.metrics.final_step if run.status == "ok" and run.metrics else None
