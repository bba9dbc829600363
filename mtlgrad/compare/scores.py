"""From runs to what verdicts are made from: a table of scores, and the rows of a report with their verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from mtlgrad.compare.metrics import Metric, metrics_of
from mtlgrad.compare.rows import Row
from mtlgrad.compare.schema import Run
from mtlgrad.compare.statistics import Verdict, judge
from mtlgrad.compare.suite import Suite


def scores_of(
    rows: Mapping[str, Sequence[Row]], runs: Sequence[Run], metrics: Mapping[str, Metric], *, references: bool = False
) -> pd.DataFrame:
    """One line for each run: arm, method (the row's label), seed, status, and every metric at the last step.

    A row that stands for a group has the runs of the candidate that was chosen. References are left out unless asked
    for, as nothing is claimed of them.
    """
    by_cell: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_cell.setdefault((run.arm, run.label), []).append(run)
    lines = [
        {
            "arm": arm,
            "method": row.label,
            "seed": run.seed,
            "status": run.status,
            **{name: run.metrics.final.get(name) if run.metrics else None for name in metrics},
        }
        for arm, found in rows.items()
        for row in found
        if references or row.role != "reference"
        for run in by_cell.get((arm, row.selected or row.label), [])
    ]
    frame = pd.DataFrame(lines, columns=["arm", "method", "seed", "status", *metrics])
    return frame.astype(dict.fromkeys(metrics, float))


def with_verdicts(suite: Suite, rows: Mapping[str, Sequence[Row]], runs: Sequence[Run]) -> dict[str, list[Row]]:
    """The rows with a verdict for each metric, all judged as one family.

    Asked about are the methods: not the baseline itself, not references, and not the candidates of a group, for which
    the group's row stands.
    """
    metrics = metrics_of(suite.metrics, runs)
    candidates = {label for labels in suite.groups.values() for label in labels}
    asked = dict.fromkeys(
        row.label
        for found in rows.values()
        for row in found
        if row.role in ("method", "control")
        and suite.baseline not in (row.label, row.selected)
        and row.label not in candidates
    )
    # where tuning came to no baseline there is nothing to judge by
    without = [arm.name for arm in suite.arms if suite.cell(arm.name, suite.baseline) is None]
    scores = scores_of({arm: found for arm, found in rows.items() if arm not in without}, runs, metrics)
    if not asked or not metrics or suite.baseline not in set(scores["method"]):
        return {arm: list(found) for arm, found in rows.items()}
    family = judge(
        scores,
        baseline=suite.baseline,
        metrics={name: metric.direction for name, metric in metrics.items()},
        margins={name: metric.margin for name, metric in metrics.items() if metric.margin is not None},
        methods=asked,
        against={row.label: row.against for row in suite.methods if row.against is not None},
    )
    by_row: dict[tuple[str, str], dict[str, Verdict]] = {}
    for verdict in family:
        by_row.setdefault((verdict.arm, verdict.method), {})[verdict.metric] = verdict
    return {
        arm: [replace(row, verdicts=by_row.get((arm, row.label), {})) for row in found] for arm, found in rows.items()
    }
