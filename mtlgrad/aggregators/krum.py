"""Krum and Multi-Krum: Byzantine-tolerant selection (Blanchard et al., NeurIPS 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.host import Array, on_host
from mtlgrad.hyperparameters import check_integer
from mtlgrad.method import Traits


@dataclass(frozen=True)
class Krum(GramAggregator):
    r"""The gradient that lies closest to its neighbours, or the mean of the few that do: a robust baseline.

    Each gradient's score is the sum of its squared distances to its m - f - 2 nearest others; the gradients with
    the `selected` lowest scores are averaged.

    .. math:: s_i = \sum_{j \in N_i} \|g_i - g_j\|^2, \qquad \|g_i - g_j\|^2 = G_{ii} + G_{jj} - 2 G_{ij}, \qquad
              d = \frac{1}{|S|} \sum_{i \in S} g_i

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. For m >= 2 f + 3 tasks, the paper's condition, and at least
    `selected`. Of equal scores the lower index wins, as in the paper.

    Parameters
    ----------
    byzantine:
        f, how many gradients may be arbitrary, >= 0.
    selected:
        How many gradients are averaged, >= 1: 1 is Krum, more is Multi-Krum.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [1.1, 0.0], [1.2, 0.0], [1.1, 0.1], [-50.0, 9.0]])
    >>> Krum(byzantine=1)(J)
    tensor([1.1000, 0.0000])

    Deviations: none from the paper, whose scores sum squared distances; torchjd sums the distances themselves.

    References
    ----------
    Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries: Byzantine Tolerant Gradient
    Descent", NeurIPS 2017, the Krum function; Multi-Krum is the variant of its experiments.
    """

    byzantine: int = 1
    selected: int = 1

    def __post_init__(self) -> None:
        for argument, low in (("byzantine", 0), ("selected", 1)):
            value = getattr(self, argument)
            check_integer(argument, value, low=low)

    @property
    def traits(self) -> Traits:
        return Traits(simplex=True, permutation_equivariant=False, min_tasks=max(2 * self.byzantine + 3, self.selected))

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return on_host(self._select, gram)

    def _select(self, gram: Array) -> Array:
        m = len(gram)
        squares = gram.diagonal()
        # Both halves of G, so that two gradients are equally far from each other to the last digit: ties are ties.
        distances = np.maximum(squares[:, None] + squares - (gram + gram.T), 0.0)
        np.fill_diagonal(distances, np.inf)  # a gradient is no neighbour of itself
        nearest = np.partition(distances, m - self.byzantine - 3, axis=1)[:, : m - self.byzantine - 2]
        chosen = nearest.sum(1).argsort(kind="stable")[: self.selected]
        weights = np.zeros(m)
        weights[chosen] = 1.0 / self.selected
        return weights
