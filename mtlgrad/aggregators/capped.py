"""Capped MGDA: the min-norm point with no task above a share (Hu, Ho and Yu, 2026)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.host import on_host
from mtlgrad.hyperparameters import check_number, check_positive
from mtlgrad.method import Traits
from mtlgrad.solvers.capped import capped_min_norm_weights, capped_residual
from mtlgrad.spaces import Uniform, searched

_OPTIMAL = 1e-9  # residual, relative to the lengths combined; what rounding leaves is below 1e-12


@dataclass(frozen=True)
class CappedMGDA(GramAggregator):
    r"""The shortest convex combination of the gradients in which each has at most a share 1 / (alpha m).

    .. math:: d = \arg\min \Bigl\{\bigl\|\sum_i w_i g_i\bigr\| : w \in \Delta,\ w_i \le \frac{1}{\alpha m}\Bigr\}

    It serves the worst-served share alpha of the tasks on average (their conditional value at risk) where `MGDA` serves
    the single worst: no one task, noisy or hostile, decides alone.

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m], on the simplex. Solved exactly from G. d may conflict with a task
    unless alpha <= 1/m.

    Parameters
    ----------
    alpha:
        In (0, 1]. Up to 1/m it is `MGDA`, at 1 the mean.

    Examples
    --------
    >>> J = torch.diag(torch.tensor([1.0, 1.0, 10.0]))
    >>> CappedMGDA(alpha=0.5)(J)  # MGDA: (0.4975, 0.4975, 0.0498)
    tensor([0.4975, 0.4975, 0.0498])
    >>> CappedMGDA(alpha=0.8)(J)  # at most 1 / 2.4 each
    tensor([0.4167, 0.4167, 1.6667])

    Deviations: none. Should rounding keep the search for the optimum from ending, which no test has met, the weights
    that it has reached stand in, and `fell_back` says so.

    References
    ----------
    Hu, Ho, Yu, "A Unified Framework for Gradient Aggregation in Multi-Objective Optimization", arXiv 2605.30452,
    capped MGDA.
    """

    alpha: float = 0.5

    search_space = searched(alpha=Uniform(0.1, 1.0))

    traits = Traits(simplex=True)

    def __post_init__(self) -> None:
        check_positive("alpha", self.alpha)
        check_number("alpha", self.alpha, low=0, high=1)

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return on_host(lambda G: capped_min_norm_weights(G, 1.0 / (self.alpha * len(G))), gram)

    def _fell_back(self, gram: Tensor) -> Tensor:
        entries, cap = gram.numpy(), min(1.0, 1.0 / (self.alpha * len(gram)))
        return torch.tensor(capped_residual(entries, cap, capped_min_norm_weights(entries, cap)) > _OPTIMAL)
