"""FairGrad: fair resource allocation among tasks (Ban and Ji, ICML 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.host import on_host
from mtlgrad.hyperparameters import check_number
from mtlgrad.method import Traits
from mtlgrad.solvers.bargaining import bargaining_weights
from mtlgrad.spaces import LogUniform, searched


@dataclass(frozen=True)
class FairGrad(GramAggregator):
    r"""The alpha-fair update: gains are shared among the tasks the more evenly the larger alpha is.

    .. math:: d \propto \arg\max_{\|x\| \le 1} \sum_i \frac{(g_i^\top x)^{1 - \alpha}}{1 - \alpha}, \qquad
              d = J^\top w \ \text{with}\ G w = w^{-1/\alpha},\ w > 0

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. Solved to rounding by Newton's method on a strictly convex problem
    in G. When all gradients are scaled by s, d is scaled by s^((1 - alpha) / (1 + alpha)).

    Parameters
    ----------
    alpha:
        Fairness, in [0.1, 10]. 1 is proportional fairness, which is `NashMTL`; 2 (default, as in the authors'
        scripts) minimises potential delay; towards infinity the least gain counts alone.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> FairGrad(alpha=1.0).weights(J @ J.T)
    tensor([1.0000, 0.5000])

    Deviations: at a Pareto-stationary point (some w >= 0, w != 0, with w J = 0) the equation has no solution; then
    w = 0, and `fell_back` says so. Zero gradients take no part: weight 0. The authors' code minimises the squared
    residual of the equation from w = 1/m, which stalls for gradients of length 1e-4, and multiplies d by m.

    References
    ----------
    Ban, Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024, Eq. 4, Algorithm 1.
    """

    alpha: float = 2.0

    search_space = searched(alpha=LogUniform(0.2, 10.0))

    def __post_init__(self) -> None:
        check_number("alpha", self.alpha, low=0.1, high=10)

    @property
    def traits(self) -> Traits:
        return Traits(non_conflicting=True, scale_equivariant=False, scale_invariant=self.alpha == 1)

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return on_host(lambda G: bargaining_weights(G, self.alpha)[0], gram)

    def _fell_back(self, gram: Tensor) -> Tensor:
        return (self._weights(gram, losses=None, generator=None) == 0).all()
