"""CAGrad: conflict-averse gradient descent (Liu et al., NeurIPS 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.host import on_host
from mtlgrad.hyperparameters import check_choice, check_number
from mtlgrad.method import Traits
from mtlgrad.solvers.cagrad import cagrad_weights
from mtlgrad.solvers.pair import cagrad_pair
from mtlgrad.spaces import Uniform, searched


@dataclass(frozen=True)
class CAGrad(GramAggregator):
    r"""The direction near the mean gradient that serves the worst-served task best.

    .. math:: d = \arg\max_d \min_i g_i^\top d \ \text{s.t.}\ \|d - g_0\| \le c\,\|g_0\|, \qquad
              g_0 = \tfrac1m \sum_i g_i

    solved through its dual, :math:`d = g_0 + c\|g_0\|\, g_w / \|g_w\|` with w minimising
    :math:`g_w^\top g_0 + c\|g_0\|\|g_w\|` over the simplex.

    Shapes: J [m, n] -> d [n]; G [m, m] -> weights on the rows [m]. Solved exactly from G.

    Parameters
    ----------
    c:
        Radius of the search ball relative to the mean gradient, >= 0. 0 is the mean; with c < 1 the method converges
        to a stationary point of the mean loss; with c >= 1 it never conflicts, and tends towards `MGDA`. The paper
        uses 0.5 on the toy problem and 0.4 in vision.
    rescale:
        "none" (default): the paper's d. "c_squared": d / (1 + c^2), the default of the authors' code. "c": d / (1 + c).

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> CAGrad(c=0.0)(J)
    tensor([0.0000, 0.5000])

    Deviations: the authors' code also multiplies d by m; here g_0 is the mean, as in the paper.
    Where the optimal g_w is 0 (a Pareto-stationary point) the dual's formula is undefined and the printed problem has
    many solutions: the one nearest to g_0 is taken, the projection of g_0 on {x : J x >= 0}. So it is where rounding
    leaves unknown how long g_w is or, for c >= 1, whether d conflicts; where that projection lies outside of the ball
    (c < 1), d goes towards it as far as the ball allows. A g_0 that cannot be told from 0 is taken as it is for c < 1
    and gives d = 0 for c >= 1, which never conflicts.

    References
    ----------
    Liu, Liu, Jin, Stone, Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021, Eq. 3,
    Algorithm 1.
    """

    c: float = 0.5
    rescale: Literal["none", "c_squared", "c"] = "none"

    search_space = searched(c=Uniform(0.0, 1.0))

    def __post_init__(self) -> None:
        check_number("c", self.c, low=0)
        check_choice("rescale", self.rescale, ("none", "c_squared", "c"))

    @property
    def traits(self) -> Traits:
        return Traits(non_conflicting=self.c >= 1, closed_form_pair=True)

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        weights = on_host(lambda G: cagrad_weights(G, self.c)[1], gram, pair=lambda G: cagrad_pair(G, self.c))
        return weights / {"none": 1.0, "c_squared": 1.0 + self.c**2, "c": 1.0 + self.c}[self.rescale]
