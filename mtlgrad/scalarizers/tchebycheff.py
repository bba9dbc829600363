"""The Tchebycheff scalarization: the worst preferred loss leads (Bowman 1976; Steuer and Choo 1983)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.hyperparameters import preference_of, vector_of
from mtlgrad.method import Traits, sized
from mtlgrad.scalarizers.base import Scalarizer
from mtlgrad.spaces import Simplex, searched


@dataclass(frozen=True)
class Tchebycheff(Scalarizer):
    r"""Descends on the largest of the losses, each above its ideal value and times its preference.

    .. math:: S = \max_i \lambda_i (L_i - z_i), \qquad w_i = \lambda_i [i \in \arg\max] / |\arg\max|

    Every Pareto-optimal point minimises it for some preference, on concave fronts too, where weighted sums fail.
    `STCH` is its smooth form.

    Shapes: losses [m] -> w [m]. Tasks that share the maximum share the weight: the mean of their subgradients.

    Parameters
    ----------
    preference:
        lambda: one number > 0 per task; None: 1 / m each.
    ideal:
        z: one number for all tasks, or one per task.

    Examples
    --------
    >>> Tchebycheff(preference=(1.0, 3.0)).loss_weights(torch.tensor([2.0, 1.0]))
    tensor([0., 3.])

    Deviations: none.

    References
    ----------
    Steuer, Choo, "An Interactive Weighted Tchebycheff Procedure for Multiple Objective Programming", Mathematical
    Programming 26, 1983; Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML 2024,
    Eq. 4.
    """

    per_task = ("preference", "ideal")

    preference: tuple[float, ...] | None = None
    ideal: float | tuple[float, ...] = 0.0

    search_space = searched(preference=Simplex())

    def __post_init__(self) -> None:
        object.__setattr__(self, "preference", preference_of(self.preference, positive=True))
        object.__setattr__(self, "ideal", vector_of("ideal", self.ideal))
        sized(Traits(), self.preference, self.ideal)

    @property
    def traits(self) -> Traits:
        return sized(Traits(needs_losses=True), self.preference, self.ideal)

    def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
        m = len(losses)
        preference = losses.new_tensor([1 / m] * m if self.preference is None else self.preference)
        height = preference * (losses - losses.new_tensor(self.ideal))
        leads = height == height.max()
        return preference * leads / leads.sum().clamp(min=1)
