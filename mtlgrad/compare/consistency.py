"""What the parts of a suite say of each other: labels that must be there, labels that must differ, seeds kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtlgrad.compare.labels import (
    TRIAL,
    TUNED,
    WEIGHTS,
    alone,
    at_equal_time,
    did_you_mean,
    frozen_twin,
    slug,
)

if TYPE_CHECKING:
    from mtlgrad.compare.suite import MethodRow, Suite


def check_consistent(suite: Suite) -> None:
    """ValueError, with key and value, where the parts of a suite do not fit each other."""
    for what, values in (
        ("arms.name", [arm.name for arm in suite.arms]),
        ("methods.label", [slug(row.label) for row in suite.methods]),
        ("seeds", [str(seed) for seed in suite.seeds]),
    ):
        twice = _twice(values)
        if twice is not None:
            raise ValueError(f"{what} holds {twice!r} twice (names of result files must differ)")
    known = [*suite.labels, *([TUNED.format(label) for label in suite.labels] if suite.tuning else [])]
    if suite.baseline not in known:
        hint = did_you_mean(suite.baseline, suite.labels)
        raise ValueError(f"baseline={suite.baseline!r} is not a label{hint}; allowed: {', '.join(suite.labels)}")
    for k, row in enumerate(suite.methods):
        _check_row(suite, k, row)
    _check_tuning(suite)
    options = [suite.problem_options, *(one.options for one in suite.arms)]
    if any("steps" in some for some in (*options, *(row.problem_options for row in suite.methods))):
        raise ValueError("problem option 'steps' is set by the suite's own `steps`")


def check_made_labels(suite: Suite) -> None:
    """ValueError where a row or a group has the label of a row that tuning or controls will make.

    For a suite as it is written: in one that was unfolded these rows are there.
    """
    given = [*suite.labels, *suite.groups]
    if "single task" in suite.controls:
        taken = next((label for label in given if slug(label).startswith(slug(alone("")) + "-")), None)
        if taken is not None:
            raise ValueError(f"label {taken!r} must not begin with 'only': the control 'single task' calls its rows so")
    made = made_labels(suite)
    twice = _twice([slug(label) for label in [*given, *made]])
    if twice is None:
        return
    label = next(one for one in made if slug(one) == twice)
    if any(slug(one) == twice for one in given):
        raise ValueError(f"label {label!r} is that of a row which tuning or controls will make: choose another")
    raise ValueError(
        f"two of the rows that tuning and controls will make would be called {label!r}, as labels are cut at their "
        "60th letter: choose shorter ones"
    )


def made_labels(suite: Suite) -> list[str]:
    """The labels of rows that tuning and controls may make of a suite as it is written.

    Those of single tasks are left out: what tasks there are, a first run will tell.
    """
    made: list[str] = [label for label in ("random weights", WEIGHTS, "noise floor") if label in suite.controls]
    compared = [row.label for row in suite.methods if row.role == "method"]
    if suite.tuning is not None:
        tried = [row.label for row in suite.methods if suite.is_tuned(row)]
        tried += [label for label in made if label == "random weights"]
        named = {label: TUNED.format(label) for label in tried}
        compared = [named[row.label] for row in suite.methods if row.label in named and row.role == "method"]
        tried += [label for label in made if label == WEIGHTS]
        made += named.values()
        made += [TRIAL.format(label, k + 1) for label in tried for k in range(suite.tuning.trials)]
    baseline = suite.baseline if suite.tuning is None else TUNED.format(suite.baseline)
    for control, name in (("frozen", frozen_twin), ("equal time", at_equal_time)):
        if control in suite.controls:
            made += [name(label) for label in compared if label != baseline]
    return made


def needed(suite: Suite, labels: Sequence[str]) -> set[str]:
    """These labels as slugs, with the baseline's and those of all rows that they are judged against."""
    kept = {slug(label) for label in (*labels, suite.baseline)}
    while True:
        against = {row.against for row in suite.methods if row.against is not None and slug(row.label) in kept}
        more = {
            slug(row.label)
            for row in suite.methods
            if against & {row.label, row.group, TUNED.format(row.label), *_late(row.label)}
        }
        if more <= kept:
            return kept
        kept |= more


def _late(label: str) -> list[str]:
    """The labels of all rows that may be made of the runs of one."""
    return [name(one) for name in (frozen_twin, at_equal_time) for one in (label, TUNED.format(label))]


def _check_row(suite: Suite, k: int, row: MethodRow) -> None:
    if row.group is not None and slug(row.group) in {slug(label) for label in suite.labels}:
        raise ValueError(
            f"methods[{k}].group={row.group!r} is the label of a row: the row of the group would have the same name"
        )
    arms = [arm.name for arm in suite.arms]
    unknown = next((name for name in row.chosen if name not in arms), None)
    if unknown is not None:
        hint = did_you_mean(unknown, arms)
        raise ValueError(f"methods[{k}].chosen: {unknown!r} is no arm{hint}; allowed: {', '.join(arms)}")
    if row.against is None:
        return
    key = f"methods[{k}].against={row.against!r}"
    if row.against == row.label:
        raise ValueError(f"{key} is the row itself")
    known = [*suite.labels, *suite.groups]
    if row.against not in known and row.against not in made_labels(suite):
        raise ValueError(f"{key} is not a label{did_you_mean(row.against, known)}; allowed: {', '.join(known)}")
    if any(one.label == row.against and one.role == "reference" for one in suite.methods):
        raise ValueError(f"{key} is a reference, which nothing is judged against; give it another role")


def _check_tuning(suite: Suite) -> None:
    if suite.tuning is None:
        if WEIGHTS in suite.controls:
            raise ValueError(f"controls: {WEIGHTS!r} needs [tuning], which says how many trials they get")
        return
    judged = [*suite.seeds, *(seed for row in suite.methods if row.role != "trial" for seed in row.seeds or ())]
    shared = sorted(set(suite.tuning.seeds) & set(judged))
    if shared:
        raise ValueError(f"tuning.seeds must be none of the suite's seeds, or what is judged was tuned on: {shared}")


def _twice(values: Sequence[str]) -> str | None:
    """The first, in order, of those that are there more than once."""
    return min((value for value in set(values) if values.count(value) > 1), default=None)
