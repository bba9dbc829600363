"""From what an engine hands back to the record that the caller sees."""

from __future__ import annotations

from mtlgrad.diagnostics import StepRecord
from mtlgrad.engines.base import Call, Outcome


def record(call: Call, outcome: Outcome, tasks: tuple[str, ...], groups: tuple[str, ...]) -> StepRecord:
    decision = outcome.decision
    return StepRecord(
        tasks=tasks,
        losses=call.values,
        finite=decision.finite,
        gram=decision.gram,
        weights=decision.weights,
        alignment=decision.alignment,
        direction_norm=decision.direction_norm,
        groups=groups,
        method=call.method,
        settled=outcome.settled,
    )
