"""MGDA: the min-norm point of the gradients' convex hull (Desideri 2012; Sener and Koltun, NeurIPS 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.host import on_host
from mtlgrad.method import Traits
from mtlgrad.solvers.pair import min_norm_pair
from mtlgrad.solvers.simplex import min_norm_weights


@dataclass(frozen=True)
class MGDA(GramAggregator):
    r"""The shortest vector in the convex hull of the gradients: a common descent direction, or zero at a Pareto point.

    .. math:: w = \arg\min_{w \in \Delta} \tfrac12 \Bigl\|\sum_i w_i g_i\Bigr\|^2, \qquad d = \sum_i w_i g_i

    For two tasks (Sener & Koltun, Algorithm 1): w1 = clip((|g2|^2 - c) / |g1 - g2|^2, 0, 1), c = g1 . g2.

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. Solved exactly from G as a non-negative least-squares problem: no
    iterations or step sizes to tune. Where the optimum is not unique one of them is returned.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> MGDA().weights(J @ J.T)
    tensor([0.6000, 0.4000])

    Deviations: the weights multiply the gradients of the shared parameters only; the authors' code applies them to
    whole losses (`apply="loss"`). Public implementations run Frank-Wolfe or projected gradients to a tolerance, and
    the copied min-norm solver may never stop. Normalising gradients first is a separate wrapper. For the upper bound
    at the representation (MGDA-UB) pass `features=` to `Balancer.backward`.

    References
    ----------
    Desideri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", C. R. Math. 2012.
    Sener, Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, Eq. 3 (two
    tasks: Eq. 4), Algorithms 1 and 2.
    """

    traits = Traits(non_conflicting=True, simplex=True, closed_form_pair=True)

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return on_host(min_norm_weights, gram, pair=min_norm_pair)
