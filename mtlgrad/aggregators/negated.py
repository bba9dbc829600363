"""The negated gradients of the paper's Sec. 5.7: the control experiment of Fig. 13."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import HarmonizingAggregator
from mtlgrad.method import Traits


@dataclass(frozen=True)
class NegatedGradient(HarmonizingAggregator):
    r"""Under conflict one gradient changes sign: the angle becomes acute, and one task is driven uphill.

    .. math:: d = -g_1 + g_2 \ (\text{task} = 0), \qquad d = g_1 - g_2 \ (\text{task} = 1), \qquad
              d = g_1 + g_2 \ \text{if}\ g_1^\top g_2 \ge 0

    Shapes: J [2, n] -> d [n]; G [2, 2] -> w [2]. Two tasks only. A control, not a method to use.

    Parameters
    ----------
    task:
        The task whose gradient is negated, 0 or 1: "-g1 & g2" and "g1 & -g2" in the paper's Fig. 13.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> NegatedGradient(task=0)(J)
    tensor([-2.,  1.])

    References
    ----------
    Huang, Song, Zhang, "Gradient Harmonization in Unsupervised Domain Adaptation", TPAMI 2024, Sec. 5.7, Fig. 13.
    """

    of_task = ("task",)

    task: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.task, bool) or not isinstance(self.task, int) or self.task not in (0, 1):
            raise ValueError(f"task must be 0 or 1, got {self.task!r}")

    traits = Traits(
        permutation_equivariant=False, sums_without_conflict=True, closed_form_pair=True, min_tasks=2, max_tasks=2
    )

    def _parts(self, gram: Tensor, *, generator: torch.Generator | None) -> Tensor:
        eye = torch.eye(2, dtype=gram.dtype, device=gram.device)
        flipped = eye.clone()
        flipped[self.task, self.task] = -1
        return torch.where(gram[0, 1] < 0, flipped, eye)
