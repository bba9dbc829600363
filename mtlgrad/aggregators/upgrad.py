"""UPGrad: the unconflicting projection of gradients (Quinton and Rey, 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.host import Array, on_host
from mtlgrad.hyperparameters import preference_of
from mtlgrad.method import Traits, sized
from mtlgrad.solvers.cone import harmonized_parts, harmonized_sum
from mtlgrad.solvers.pair import harmonize_pair


@dataclass(frozen=True)
class UPGrad(GramAggregator):
    r"""The preferred mean of the gradients, each first projected on the directions that hurt no task.

    .. math:: d = \sum_i p_i\, \pi(g_i), \qquad \pi(g) = \arg\min_x \|x - g\|^2 \ \text{s.t.}\ J x \ge 0

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. All m projections are solved exactly from G. A zero gradient
    constrains nothing and has weight p_i, 1/m where nothing is preferred.

    Parameters
    ----------
    preference:
        p: one number >= 0 a task, not all 0; None: 1/m each.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> UPGrad()(J)
    tensor([0.2500, 0.7500])
    >>> UPGrad().weights(J @ J.T)
    tensor([1.0000, 0.7500])
    >>> UPGrad(preference=(1.0, 0.0))(J)
    tensor([0.5000, 0.5000])

    Relations, under test: m times UPGrad is `GH`; without conflict it is the mean.

    Deviations: none from the paper. The authors' code adds 1e-4 of the trace to G before it solves, which lets d
    conflict with a task whose gradient is some thirty times shorter than the others; here nothing is added.

    References
    ----------
    Quinton, Rey, "Jacobian Descent for Multi-Objective Optimization", arXiv 2406.16232, Eq. 3 and Prop. 1.
    """

    per_task = ("preference",)

    preference: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "preference", preference_of(self.preference))

    @property
    def traits(self) -> Traits:
        return sized(Traits(non_conflicting=True, closed_form_pair=True), self.preference)

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        if self.preference is None:
            return on_host(_mean_of_projections, gram, pair=lambda G: harmonize_pair(G).mean(0))
        preference = torch.tensor(self.preference, dtype=gram.dtype, device=gram.device)
        return on_host(
            lambda G: preference.numpy() @ harmonized_parts(G), gram, pair=lambda G: preference @ harmonize_pair(G)
        )


def _mean_of_projections(gram: Array) -> Array:
    return np.asarray(harmonized_sum(gram) / len(gram))
