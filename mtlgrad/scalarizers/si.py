"""SI-LS: the scale-invariant linear scalarization (Navon et al., ICML 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.method import Traits, positive
from mtlgrad.scalarizers.base import Scalarizer


@dataclass(frozen=True)
class SILS(Scalarizer):
    r"""Descends on the sum of log losses: each gradient divided by its loss, so that units of loss do not matter.

    .. math:: S = \sum_i \log L_i, \qquad w_i = \frac1{L_i}

    Shapes: losses [m] -> w [m].

    Raises
    ------
    ValueError
        On a negative loss. A loss below 1e-12 of the largest counts as that much; if all are 0, w = 1.

    Examples
    --------
    >>> SILS().loss_weights(torch.tensor([0.5, 4.0]))
    tensor([2.0000, 0.2500])

    Deviations: log, as in the paper; Samsung's code has log(1 + L), which is not scale-invariant.

    References
    ----------
    Navon, Shamsian, Achituve, Maron, Kawaguchi, Chechik, Fetaya, "Multi-Task Learning as a Bargaining Game",
    ICML 2022, Sec. 6, baseline SI.
    """

    traits = Traits(needs_losses=True)

    def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
        return 1 / positive(self, losses)
