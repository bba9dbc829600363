"""STCH: smooth Tchebycheff scalarization (Lin et al., ICML 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.hyperparameters import check_positive, preference_of, vector_of
from mtlgrad.method import Traits, sized
from mtlgrad.scalarizers.base import Scalarizer
from mtlgrad.spaces import LogUniform, Simplex, searched


@dataclass(frozen=True)
class STCH(Scalarizer):
    r"""Descends on a smooth maximum of the losses above their ideal values: the worst task leads.

    .. math:: S = \mu \log \sum_i \exp\frac{\lambda_i (L_i - z_i)}{\mu}, \qquad
              w_i = \lambda_i \operatorname{softmax}\Bigl(\frac{\lambda \circ (L - z)}{\mu}\Bigr)_i

    Shapes: losses [m] -> w [m]. Finite for any finite losses, negative ones included.

    Parameters
    ----------
    mu:
        Smoothing, > 0, in units of loss: towards 0 the maximum, for large mu a weighted sum.
    preference:
        lambda: one number > 0 per task; None: 1 / m each.
    ideal:
        z: one number for all tasks, or one per task.

    Examples
    --------
    >>> STCH(preference=(1.0, 1.0)).loss_weights(torch.tensor([0.0, 1.0]))
    tensor([0.2689, 0.7311])

    Deviations: the paper's definition. The authors' multi-task code feeds it log(L / nadir), with the nadir measured
    after a warm-up on the sum of log losses, and multiplies by m.

    References
    ----------
    Lin, Zhang, Yang, Liu, Wang, Zhang, "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML 2024,
    the definition of g^(STCH).
    """

    per_task = ("preference", "ideal")

    mu: float = 1.0
    preference: tuple[float, ...] | None = None
    ideal: float | tuple[float, ...] = 0.0

    search_space = searched(mu=LogUniform(1e-2, 10.0), preference=Simplex())

    def __post_init__(self) -> None:
        check_positive("mu", self.mu)
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
        # The largest is taken off before the division by mu, which then cannot overflow to inf - inf.
        return preference * ((height - height.max()) / self.mu).softmax(0)
