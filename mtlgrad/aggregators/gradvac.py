"""GradVac: gradient vaccine (Wang, Tsvetkov, Firat and Cao, ICLR 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtlgrad.aggregators.base import StatefulGramAggregator
from mtlgrad.aggregators.host import Array
from mtlgrad.aggregators.pcgrad import orders_of_others
from mtlgrad.hyperparameters import check_number
from mtlgrad.method import State, Traits
from mtlgrad.spaces import LogUniform, searched

MIN_SINE = 1e-6
"""A target this close to cosine 1 asks for (nearly) parallel gradients, which no finite correction gives."""


@dataclass(frozen=True)
class GradVac(StatefulGramAggregator):
    r"""Each gradient is turned towards another whenever their cosine is below what it has been on average.

    For each i, over the j != i in a random order of its own, starting from :math:`\tilde g_i = g_i`: with
    :math:`\phi = \cos(\tilde g_i, g_j)`, and if it is below the target :math:`\hat\phi_{ij}`,

    .. math:: \tilde g_i \leftarrow \tilde g_i + \frac{\|\tilde g_i\| \bigl(\hat\phi_{ij} \sqrt{1 - \phi^2} -
              \phi \sqrt{1 - \hat\phi_{ij}^2}\bigr)}{\|g_j\| \sqrt{1 - \hat\phi_{ij}^2}}\, g_j

    which makes the cosine :math:`\hat\phi_{ij}`. Then the target moves, corrected or not:
    :math:`\hat\phi_{ij} \leftarrow (1 - \beta) \hat\phi_{ij} + \beta \phi`. At the end
    :math:`d = \sum_i \tilde g_i`.

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. State: the targets [m, m], 0 at first. All m chains advance
    together, in coefficients of the rows of J: m - 1 vectorised steps.

    Parameters
    ----------
    beta:
        Speed of the moving average, in [0, 1]. 0 keeps all targets at 0, which is `PCGrad`.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> GradVac()(J)  # the first step is PCGrad's
    tensor([0.5000, 1.5000])

    Deviations: a pair with a zero gradient has no cosine: neither corrected nor averaged. A target with
    sqrt(1 - target^2) < 1e-6 corrects nothing. One decision for all shared parameters; `groups=` of the Balancer
    gives the paper's decision per layer. beta = 0.5 is the value of LibMTL and torchjd.

    References
    ----------
    Wang, Tsvetkov, Firat, Cao, "Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively
    Multilingual Models", ICLR 2021, the update of GradVac.
    """

    beta: float = 0.5

    search_space = searched(beta=LogUniform(1e-3, 1.0))

    def __post_init__(self) -> None:
        check_number("beta", self.beta, low=0, high=1)

    traits = Traits(stochastic=True, stateful=True)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        return {"targets": torch.zeros(m, m, dtype=torch.float64, device=device)}

    def _step(
        self, gram: Tensor, state: State, *, losses: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        targets = state["targets"].cpu().numpy().copy()
        parts = _vaccinate(gram.numpy(), targets, self.beta, orders_of_others(len(gram), generator))
        return torch.from_numpy(parts.sum(0)), {"targets": torch.from_numpy(targets)}


def _vaccinate(gram: Array, targets: Array, beta: float, others: np.ndarray) -> Array:
    """Coefficients [m, m] of the turned gradients; row i meets the tasks in others[i]. Moves `targets` in place."""
    m = len(gram)
    rows = np.arange(m)
    parts = np.eye(m)
    inner = gram.copy()  # inner[i, j] = g~_i . g_j, kept up to date: each step changes one coefficient a row
    norms = np.sqrt(gram.diagonal())
    for met in others.T:
        own = np.sqrt(np.maximum((parts * inner).sum(1), 0.0))
        lengths = own * norms[met]
        known = lengths > 0.0
        safe = np.where(known, lengths, 1.0)
        cosine = np.clip(inner[rows, met] / safe, -1.0, 1.0)
        target = targets[rows, met]
        sine = np.sqrt((1.0 - target) * (1.0 + target))
        turn = known & (cosine < target) & (sine >= MIN_SINE)
        wanted = target * np.sqrt((1.0 - cosine) * (1.0 + cosine)) - cosine * sine
        change = np.where(turn, own * wanted, 0.0) / np.where(turn, norms[met] * sine, 1.0)
        parts[rows, met] += change
        inner += change[:, None] * gram[met]
        targets[rows, met] = np.where(known, target + beta * (cosine - target), target)
    return parts
