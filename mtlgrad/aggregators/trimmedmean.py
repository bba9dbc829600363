"""Coordinate-wise trimmed mean (Yin et al., ICML 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import ElementwiseAggregator
from mtlgrad.hyperparameters import check_integer
from mtlgrad.method import State, Traits

# Columns a pass: they stay in cache between the comparisons.
_BLOCK = 1 << 14


@dataclass(frozen=True)
class TrimmedMean(ElementwiseAggregator):
    r"""Coordinate by coordinate, the mean without the k largest and the k smallest: k tasks may send anything.

    .. math:: d_j = \frac1{m - 2k} \sum_{i = k + 1}^{m - k} J_{(i) j}, \qquad
              J_{(1) j} \le \dots \le J_{(m) j}

    Shapes: J [m, n] -> d [n], for m >= 2k + 1. A baseline from Byzantine-robust learning, where rows are workers.

    Parameters
    ----------
    trim:
        k, an int >= 0: how many are dropped at either end. 0 is the mean; m = 2k + 1 the median.

    Examples
    --------
    >>> TrimmedMean(trim=1)(torch.tensor([[1.0, 9e9], [3.0, 5.0], [-1e9, 4.0]]))
    tensor([1., 5.])

    Deviations: a number of tasks k in place of the share beta = k / m.

    References
    ----------
    Yin, Chen, Ramchandran, Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
    ICML 2018, Definition 2.
    """

    trim: int = 1

    def __post_init__(self) -> None:
        check_integer("trim", self.trim, low=0)

    @property
    def traits(self) -> Traits:
        return Traits(min_tasks=2 * self.trim + 1)

    def _step(
        self,
        jacobian: Tensor,
        state: State,
        *,
        losses: Tensor | None,
        generator: torch.Generator | None,
        features: Tensor | None,
    ) -> tuple[Tensor, State]:
        kept = slice(self.trim, len(jacobian) - self.trim)
        wide = torch.promote_types(jacobian.dtype, torch.float32)
        direction = torch.empty_like(jacobian[0])
        for out, block in zip(direction.split(_BLOCK), jacobian.split(_BLOCK, dim=1), strict=True):
            rows = _ends_sorted(list(block.to(wide).unbind()), self.trim)
            out.copy_(torch.stack(rows[kept]).mean(0))
        return direction, state


def _ends_sorted(rows: list[Tensor], ends: int) -> list[Tensor]:
    """The rows [n] with the `ends` smallest of every coordinate first and the `ends` largest last.

    Bubble sort from both ends, a row at a time: 2 k m comparisons of whole rows, where sorting short columns one by
    one would be an order of magnitude slower.
    """
    for k in range(ends):
        last = len(rows) - 1 - k
        for i in range(k, last):
            rows[i], rows[i + 1] = torch.minimum(rows[i], rows[i + 1]), torch.maximum(rows[i], rows[i + 1])
        for i in range(last - 1, k, -1):
            rows[i - 1], rows[i] = torch.minimum(rows[i - 1], rows[i]), torch.maximum(rows[i - 1], rows[i])
    return rows
