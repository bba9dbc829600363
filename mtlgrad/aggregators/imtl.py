"""IMTL-G: impartial multi-task learning, the part on gradients (Liu et al., ICLR 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.host import on_host
from mtlgrad.method import Traits
from mtlgrad.solvers.pair import equal_projection_pair
from mtlgrad.solvers.spectral import equal_projection_weights


@dataclass(frozen=True)
class IMTLG(GramAggregator):
    r"""The weighted gradient whose projections on all tasks' gradients have one length.

    With u_i = g_i / |g_i|:

    .. math:: d = \sum_i w_i g_i, \qquad \sum_i w_i = 1, \qquad d^\top u_1 = d^\top u_i \ \forall i

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. Solved from the cosines of the gradients, so that norms may differ
    by any factor. Weights may be negative, and the common projection too: d then conflicts with every task at once.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    >>> IMTLG().weights(J @ J.T)
    tensor([0.7500, 0.2500])

    Deviations: the paper's closed form inverts a matrix that is singular for dependent gradients. Here the smallest
    solution is taken; where gradients allow no other, d = 0 (opposite ones); and where no solution sums to 1, w = 0,
    which `fell_back` reports. Zero gradients have no direction and take no part. The loss part, IMTL-L, is a
    scalarizer of its own; public implementations often run the two together.

    References
    ----------
    Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, Sec. 3.1, Eq. 1; the closed form: Eq. 2.
    """

    traits = Traits(closed_form_pair=True)

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return on_host(equal_projection_weights, gram, pair=equal_projection_pair)

    def _fell_back(self, gram: Tensor) -> Tensor:
        return (self._weights(gram, losses=None, generator=None) == 0).all()
