"""DiBS-MTL: the direction-based bargaining solution (Murthy et al., 2025)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.host import Array, on_host
from mtlgrad.hyperparameters import check_integer
from mtlgrad.method import Traits
from mtlgrad.solvers.scaling import unit_diagonal
from mtlgrad.spaces import Choice, searched


@dataclass(frozen=True)
class DiBSMTL(GramAggregator):
    r"""Unit gradients only, each the heavier the farther the step still is from what that task would like best.

    Each task would most like the step u_i = g_i / |g_i|. From x = 0, over T inner steps,

    .. math:: x \leftarrow x + \frac1T \sum_i \|x - u_i\|\, u_i, \qquad
              w_i = \frac{1}{T |g_i|} \sum_{t} \|x_t - u_i\|

    so that losses may be transformed by any increasing function without changing d. Where x leaves the unit ball the
    inner steps end.

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. From the cosines of the gradients alone. A zero gradient has weight 0.

    Parameters
    ----------
    steps:
        T >= 1. 1, the authors' cheap form, gives every unit gradient the same weight: w_i = 1 / |g_i|.

    Examples
    --------
    >>> J = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    >>> DiBSMTL()(J)
    tensor([1., 1.])

    Deviations: the radius within which tasks bargain is 1, as in the authors' code for control tasks; their code for
    supervised tasks ties it to the learning rate, which an aggregation does not know, and clips d to length 1.

    References
    ----------
    Murthy, Gupta, Karabag, Fridovich-Keil, Topcu, "DiBS-MTL: Transformation-Invariant Multitask Learning with Direction
    Oracles", arXiv 2509.23948; what ends the inner steps: the authors' code.
    """

    steps: int = 1

    search_space = searched(steps=Choice(1, 2, 5, 10))

    traits = Traits(scale_equivariant=False, scale_invariant=True)

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, low=1)

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return on_host(self._bargain, gram)

    def _bargain(self, gram: Array) -> Array:
        cosines, norms, live = unit_diagonal(gram)
        place, total = np.zeros(len(gram)), np.zeros(len(gram))  # x and the sum of weights, in unit gradients
        for _ in range(self.steps):
            inner = cosines @ place
            squares = float(place @ inner) - 2.0 * inner + 1.0
            moved = np.where(live, np.sqrt(np.maximum(squares, 0.0)), 0.0) / self.steps
            total, place = total + moved, place + moved
            if place @ cosines @ place > 1.0:
                break
        return np.divide(total, norms, out=np.zeros_like(total), where=live)
