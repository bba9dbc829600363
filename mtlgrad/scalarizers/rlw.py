"""RLW: random loss weighting (Lin et al., TMLR 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.method import Traits
from mtlgrad.scalarizers.base import Scalarizer


@dataclass(frozen=True)
class RLW(Scalarizer):
    r"""Fresh random weights every step: the baseline that a clever weighting has to beat.

    .. math:: w = \operatorname{softmax}(\xi), \qquad \xi \sim \mathcal N(0, I_m)

    Shapes: losses [m] -> w [m], summing to 1. The losses are not read.

    Examples
    --------
    >>> w = RLW().loss_weights(torch.ones(3), generator=torch.Generator().manual_seed(0))
    >>> round(float(w.sum()), 6)
    1.0

    Deviations: the normal distribution only, of several that the paper tries with like results. The weights sum to 1 as
    in the paper, not to m.

    References
    ----------
    Lin, Ye, Zhang, Tsang, "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning",
    TMLR 2022, random loss weighting.
    """

    traits = Traits(stochastic=True, simplex=True)

    def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
        place = torch.device("cpu") if generator is None else generator.device
        draws = torch.randn(len(losses), dtype=torch.float64, device=place, generator=generator)
        return draws.softmax(0).to(losses.device)
