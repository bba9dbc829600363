"""GLS: the geometric loss strategy (Chennupati et al., CVPR Workshops 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.method import Traits, positive
from mtlgrad.scalarizers.base import Scalarizer


@dataclass(frozen=True)
class GLS(Scalarizer):
    r"""Descends on the geometric mean of the losses, in which no loss counts more for being larger.

    .. math:: S = \Bigl(\prod_i L_i\Bigr)^{1/m}, \qquad w_i = \frac{S}{m L_i}

    Shapes: losses [m] -> w [m]; w_i L_i is the same for every task.

    Raises
    ------
    ValueError
        On a negative loss. A loss below 1e-12 of the largest counts as that much; if all are 0, w = 1 / m.

    Examples
    --------
    >>> GLS().loss_weights(torch.tensor([1.0, 4.0]))
    tensor([1.0000, 0.2500])

    Deviations: the mean of logarithms, where LibMTL takes a raw product that over- and underflows. At a zero loss the
    exact weight is infinite; the floor stands in for it.

    References
    ----------
    Chennupati, Sistu, Yogamani, Rawashdeh, "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy
    for Multi-Task Learning", CVPR Workshops 2019, geometric loss strategy.
    """

    traits = Traits(needs_losses=True)

    def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
        logs = positive(self, losses).log()
        return (logs.mean() - logs).exp() / len(losses)
