"""Runs that nobody ran, for what is made from runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mtlgrad.compare.environment import machine, versions
from mtlgrad.compare.schema import Conflicts, CurvePoint, Identity, MetricsAt, Run, StepTime
from mtlgrad.compare.suite import Suite

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def run(suite: Suite, label: str, seed: int, final: float, **changed: Any) -> Run:
    row = next(row for row in suite.methods if row.label == label)
    identity = Identity(
        suite=suite.name,
        arm="plain",
        label=label,
        problem=suite.problem,
        problem_options=suite.options_of(suite.arms[0], row),
        method=row.method,
        method_args=row.args,
        seed=seed,
        evaluate_every=suite.evaluate_every,
    )
    status = changed.get("status", "ok")
    return Run(
        **identity.model_dump(),
        status=status,
        reason="" if status == "ok" else "because",
        metric="accuracy",
        metrics=MetricsAt(
            final={"accuracy": final, "loss": 100 - final},
            best={"accuracy": changed.get("best", final)},
            final_step=12,
            best_step=6,
            final_validation=changed.get("validation", 0.0),
            best_validation=1.0,
        ),
        conflicts=Conflicts(before=0.5, after=0.25, measured=8),
        step_ms=StepTime(median=changed.get("ms", 10.0), q25=9.0, q75=11.0, steps=12),
        skipped_updates=0,
        curve=[
            CurvePoint(step=6 * k + 6, metrics={"accuracy": value}, validation=0.0)
            for k, value in enumerate(changed.get("curve", []))
        ],
        phases={},
        exhibits={},
        versions=versions(),
        machine=machine(),
        threads=1,
        jobs=1,
        started=MOMENT,
        finished=MOMENT,
    )
