"""AND-mask: coordinates on which the tasks' signs agree (Parascandolo et al., ICLR 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import ElementwiseAggregator
from mtlgrad.hyperparameters import check_number
from mtlgrad.method import State, Traits
from mtlgrad.spaces import Uniform, searched


@dataclass(frozen=True)
class ANDMask(ElementwiseAggregator):
    r"""The mean gradient where enough tasks agree on its sign, zero elsewhere.

    .. math:: d_k = \Bigl[\,\bigl|\textstyle\sum_i \operatorname{sign} J_{ik}\bigr| \ge \tau m\Bigr]\;
              \frac1m \sum_i J_{ik}

    Shapes: J [m, n] -> d [n]. One pass over J.

    Parameters
    ----------
    threshold:
        tau in [0, 1]: 1 asks all signs to be the same, and then no task's loss rises to first order; 0 is the mean.

    Examples
    --------
    >>> ANDMask()(torch.tensor([[1.0, 1.0, -2.0], [-1.0, 3.0, -4.0]]))
    tensor([ 0.,  2., -3.])

    Deviations: none from the paper's definition. Its code can also divide by the share of coordinates kept, which makes
    up for the shorter step; a learning rate does that.

    References
    ----------
    Parascandolo, Neitz, Orvieto, Gresele, Schoelkopf, "Learning explanations that are hard to vary", ICLR 2021, Sec. 2.
    """

    threshold: float = 1.0

    search_space = searched(threshold=Uniform(0.0, 1.0))

    def __post_init__(self) -> None:
        check_number("threshold", self.threshold, low=0, high=1)

    @property
    def traits(self) -> Traits:
        return Traits(non_conflicting=self.threshold == 1)

    def _step(
        self,
        jacobian: Tensor,
        state: State,
        *,
        losses: Tensor | None,
        generator: torch.Generator | None,
        features: Tensor | None,
    ) -> tuple[Tensor, State]:
        m = len(jacobian)
        agreement = jacobian.sign().to(torch.float32).sum(0).abs()
        # The sum is a whole number: half a unit in the 12th digit settles what tau * m leaves to rounding.
        agreed = agreement >= self.threshold * m * (1 - 1e-12)
        wide = torch.promote_types(jacobian.dtype, torch.float32)
        return torch.where(agreed, (jacobian / m).sum(0, dtype=wide), 0).to(jacobian.dtype), state
