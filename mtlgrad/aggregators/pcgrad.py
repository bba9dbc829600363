"""PCGrad: projecting conflicting gradients (Yu et al., NeurIPS 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mtlgrad.aggregators.base import HarmonizingAggregator
from mtlgrad.aggregators.host import Array, on_host
from mtlgrad.hyperparameters import check_choice
from mtlgrad.method import Traits
from mtlgrad.solvers.cone import harmonized_parts
from mtlgrad.solvers.pair import harmonize_pair


@dataclass(frozen=True)
class PCGrad(HarmonizingAggregator):
    r"""Each gradient is projected, one other task after the other, off those it conflicts with; then all are summed.

    For each i, over the j != i in a random order of its own, starting from :math:`\tilde g_i = g_i`:

    .. math:: \tilde g_i \leftarrow \tilde g_i - \frac{\min(0,\ \tilde g_i^\top g_j)}{\|g_j\|^2}\, g_j, \qquad
              d = \sum_i \tilde g_i

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. All m chains advance together, in coefficients of the rows of J:
    m - 1 vectorised steps. A zero gradient conflicts with nothing. m = 2 leaves nothing to shuffle, and equals `GH`.

    Parameters
    ----------
    order:
        "random" (the paper's): each task meets the others in an order of its own, drawn anew each step.
        "fixed": by index, the same for all; deterministic, and dependent on the order of the tasks.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> PCGrad()(J)
    tensor([0.5000, 1.5000])

    Deviations: the sum of the paper's Algorithm 1; several ports average. The authors' TensorFlow code discards the
    result of its shuffle; here the order is random as printed.

    References
    ----------
    Yu, Kumar, Gupta, Levine, Hausman, Finn, "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, Algorithm 1.
    """

    order: Literal["random", "fixed"] = "random"

    def __post_init__(self) -> None:
        check_choice("order", self.order, ("random", "fixed"))

    @property
    def traits(self) -> Traits:
        drawn = self.order == "random"
        return Traits(
            stochastic=drawn, permutation_equivariant=drawn, sums_without_conflict=True, closed_form_pair=True
        )

    def _parts(self, gram: Tensor, *, generator: torch.Generator | None) -> Tensor:
        if len(gram) == 2:  # one other task leaves nothing to order
            return on_host(harmonized_parts, gram, pair=harmonize_pair)
        others = orders_of_others(len(gram), generator, shuffle=self.order == "random")
        return on_host(lambda G: _project_in_turn(G, others), gram)


def orders_of_others(m: int, generator: torch.Generator | None, *, shuffle: bool = True) -> np.ndarray:
    """The other tasks [m, m - 1] in the order in which each task meets them: at random, or by index."""
    if shuffle and m > 2:
        place = torch.device("cpu") if generator is None else generator.device
        keys = torch.rand(m, m, generator=generator, device=place).cpu().numpy()
    else:  # with one other task there is nothing to draw
        keys = np.tile(np.arange(m, dtype=np.float64), (m, 1))
    # A row of keys sorts the others; one's own key comes last and is cut off.
    np.fill_diagonal(keys, m)
    return keys.argsort(axis=1)[:, : m - 1]


def _project_in_turn(G: Array, others: np.ndarray) -> Array:
    """Coefficients [m, m] of the projected gradients; row i meets the tasks in others[i] one after the other."""
    m = len(G)
    parts = np.eye(m)
    inner = G.copy()  # inner[i, j] = g~_i . g_j, kept up to date: each step changes one coefficient a row
    rows = np.arange(m)
    squares = G.diagonal()
    inverse = np.divide(1, squares, out=np.zeros(m), where=squares > 0)
    for met in others.T:
        change = np.minimum(inner[rows, met], 0) * -inverse[met]
        parts[rows, met] += change
        inner += change[:, None] * G[met]
    return parts
