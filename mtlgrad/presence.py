"""Arithmetic of states whose tasks come and go: with all tasks always there, nothing here changes a bit."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDING = 1e-9
"""Weights whose sum is off by no more are those of all tasks."""


def among_present(weights: Tensor, total: float) -> tuple[Tensor, Tensor | float]:
    """Kept weights [m] >= 0 of the present tasks, brought to the sum `total`, and the share of it that they had.

    What comes of them, times that share, is what they weigh beside the absent ones: these keep theirs. With all tasks
    present the sum is right but for rounding, and the weights stay as they are. Weights that are all 0 become equal.

    >>> among_present(torch.tensor([0.5, 0.25]), 1.0)
    (tensor([0.6667, 0.3333]), 0.75)
    """
    if weights.is_cpu:
        share = float(weights.sum()) / total
        if abs(share - 1) <= _ROUNDING:
            return weights, 1.0
        return weights / share if share > 0 else torch.full_like(weights, total / len(weights)), share
    part = weights.sum() / total
    part = torch.where((part - 1).abs() <= _ROUNDING, 1.0, part)
    return torch.where(part > 0, weights / torch.where(part > 0, part, 1.0), total / len(weights)), part


def filled(values: Tensor, known: Tensor) -> Tensor:
    """`values` [m] with the mean of the known ones where they are not known (0 where none is)."""
    mean = (torch.where(known, values, 0.0) / known.sum().clamp(min=1)).sum()
    return torch.where(known, values, mean)


def powers(base: float, steps: Tensor, dtype: torch.dtype) -> Tensor:
    """base ** steps [m], to the last digit as if each were alone.

    Over contiguous memory torch takes several powers at once, whose last digit may be another.
    """
    return base ** steps.to(dtype).repeat_interleave(2)[::2]
