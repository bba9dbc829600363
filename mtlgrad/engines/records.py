"""From what an engine hands back to the record that the caller sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtlgrad.diagnostics import StepRecord
from mtlgrad.engines.base import Call, Outcome


def record(call: Call, outcome: Outcome, tasks: tuple[str, ...], groups: tuple[str, ...]) -> StepRecord:
    """Of all tasks, NaN where one was absent."""
    decision, present, m = outcome.decision, call.present, len(tasks)
    return StepRecord(
        tasks=tasks,
        losses=_spread(call.values, present, m, 1),
        finite=decision.finite,
        gram=None if decision.gram is None else _spread(decision.gram, present, m, 2),
        weights=None if decision.weights is None else _spread(decision.weights, present, m, 1),
        alignment=None if decision.alignment is None else _spread(decision.alignment, present, m, 1),
        direction_norm=decision.direction_norm,
        groups=groups,
        method=call.method,
        settled=outcome.settled,
        present=tuple(tasks[k] for k in present),
    )


def _spread(values: Tensor, present: Sequence[int], m: int, axes: int) -> Tensor:
    """`values` of the present tasks along the last `axes` axes, among m with NaN for the absent ones."""
    if len(present) == m:
        return values
    rows = torch.tensor(list(present), device=values.device)
    whole = values.new_full((*values.shape[:-axes], *[m] * axes), torch.nan)
    if axes == 2:
        whole[rows[:, None], rows] = values
    else:
        whole[..., rows] = values
    return whole
