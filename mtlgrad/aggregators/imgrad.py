"""IMGrad: imbalance-sensitive gradients (Zhou, Liu, Zhao and Gong, IJCAI 2025)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.host import Array, on_host
from mtlgrad.hyperparameters import check_choice, check_number
from mtlgrad.method import Traits
from mtlgrad.solvers.cagrad import cagrad_weights
from mtlgrad.solvers.scaling import RESOLUTION
from mtlgrad.solvers.simplex import min_norm_weights
from mtlgrad.spaces import Uniform, searched


@dataclass(frozen=True)
class IMGrad(GramAggregator):
    r"""CAGrad whose search listens the more to short gradients the more the mean and the min-norm point agree.

    With g_0 the mean gradient, g_m the min-norm point and :math:`\kappa = \cos(g_0, g_m)`,

    .. math:: d = g_0 + c\,\|g_0\|\, \frac{g_w}{\|g_w\|}, \qquad
              w = \arg\min_{w \in \Delta} \bigl(\tfrac32 - \kappa\bigr)\, g_w^\top g_0 + \kappa\, c\,\|g_0\|\|g_w\|

    kappa = 3/4 is `CAGrad` (whose two terms then are alike).

    Shapes: J [m, n] -> d [n]; G [m, m] -> weights on the rows [m]. Solved exactly from G.

    Parameters
    ----------
    c:
        Radius relative to the mean gradient, >= 0. 0.8 in the authors' script for NYUv2, 0.5 in their code.
    rescale:
        As in `CAGrad`; the authors' script divides by 1 + c^2.

    Examples
    --------
    >>> J = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> IMGrad(c=0.5)(J)  # both rows share g_w = g_0: (1 + c) g_0
    tensor([1.5000, 1.5000])

    Deviations: the authors' code multiplies d by m. At a Pareto-stationary point, where g_m = 0 has no direction,
    kappa is 0, as their code has it.

    References
    ----------
    Zhou, Liu, Zhao, Gong, "Injecting Imbalance Sensitivity for Multi-Task Learning", IJCAI 2025, arXiv 2503.08006; the
    weights of the two terms: the authors' code.
    """

    c: float = 0.5
    rescale: Literal["none", "c_squared", "c"] = "none"

    search_space = searched(c=Uniform(0.0, 1.0))

    traits = Traits()

    def __post_init__(self) -> None:
        check_number("c", self.c, low=0)
        check_choice("rescale", self.rescale, ("none", "c_squared", "c"))

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        weights = on_host(self._solve, gram)
        return weights / {"none": 1.0, "c_squared": 1.0 + self.c**2, "c": 1.0 + self.c}[self.rescale]

    def _solve(self, gram: Array) -> Array:
        m = len(gram)
        mean = np.full(m, 1.0 / m)
        norms = np.sqrt(np.maximum(gram.diagonal(), 0.0))
        length = math.sqrt(max(float(mean @ gram @ mean), 0.0))
        if length <= RESOLUTION * float(norms.mean()):
            return mean
        shortest = min_norm_weights(gram)
        size = math.sqrt(max(float(shortest @ gram @ shortest), 0.0))
        known = size > RESOLUTION * float(shortest @ norms)
        agreement = min(float(mean @ gram @ shortest) / (length * size), 1.0) if known else 0.0
        # Divided by 3/2 - kappa the problem is CAGrad's with another radius.
        worst, _ = cagrad_weights(gram, agreement * self.c / (1.5 - agreement))
        pull = math.sqrt(max(float(worst @ gram @ worst), 0.0))
        if pull <= RESOLUTION * float(worst @ norms):
            return mean
        return np.asarray(mean + self.c * length / pull * worst)
