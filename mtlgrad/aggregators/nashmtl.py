"""Nash-MTL: multi-task learning as a bargaining game (Navon et al., ICML 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.host import on_host
from mtlgrad.hyperparameters import check_number
from mtlgrad.method import Traits
from mtlgrad.solvers.bargaining import bargaining_weights
from mtlgrad.solvers.pair import bargaining_pair
from mtlgrad.spaces import Choice, searched


@dataclass(frozen=True)
class NashMTL(GramAggregator):
    r"""The Nash bargaining solution: the update whose product of gains over the tasks is the largest.

    .. math:: d \propto \arg\max_{\|x\| \le 1} \sum_i \log g_i^\top x, \qquad d = J^\top w \ \text{with}\
              G w = 1 / w,\ w > 0

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. Solved to rounding by Newton's method on a strictly convex problem
    in G. d does not change when a task's loss is rescaled, and |d| is the square root of the number of non-zero
    gradients whatever their lengths: the learning rate alone sets the step.

    Parameters
    ----------
    max_norm:
        None (default), or the length > 0 to which a longer d is cut. The authors' code uses 1.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> NashMTL().weights(J @ J.T)
    tensor([1.0000, 0.5000])
    >>> NashMTL(max_norm=1.0)(J)
    tensor([0.7071, 0.7071])

    Deviations: at a Pareto-stationary point (some w >= 0, w != 0, with w J = 0) the equation has no solution; then
    w = 0, and `fell_back` says so. Zero gradients take no part: weight 0. Weights are computed anew at every step
    (`Every` holds them). The authors' code takes at most 20 steps of a convex-concave procedure with a general
    solver, keeps the last weights when that fails, and may silently stay at w = 1; there the solver is part of the
    method's behaviour, here it is not.

    References
    ----------
    Navon, Shamsian, Achituve, Maron, Kawaguchi, Chechik, Fetaya, "Multi-Task Learning as a Bargaining Game",
    ICML 2022, Claim 3.1, Eq. 2, Algorithm 1.
    """

    max_norm: float | None = None

    search_space = searched(max_norm=Choice(None, 1.0))

    def __post_init__(self) -> None:
        if self.max_norm is not None:
            check_number("max_norm", self.max_norm, low=0)
            if self.max_norm == 0:
                raise ValueError("max_norm must be None or a number > 0, got 0")

    traits = Traits(non_conflicting=True, scale_equivariant=False, scale_invariant=True, closed_form_pair=True)

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        weights = on_host(lambda G: bargaining_weights(G)[0], gram, pair=bargaining_pair)
        if self.max_norm is None:
            return weights
        # |d|^2 = w . G w is the number of tasks that take part, for each contributes w_i (1 / w_i).
        length = (weights > 0).sum(dtype=weights.dtype).clamp(min=1).sqrt()
        return weights * (self.max_norm / length).clamp(max=1)

    def _fell_back(self, gram: Tensor) -> Tensor:
        weights = on_host(lambda G: bargaining_weights(G)[0], gram, pair=bargaining_pair)
        return (weights == 0).all()
