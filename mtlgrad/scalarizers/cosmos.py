"""COSMOS: a weighted sum that keeps the losses along a preference (Ruchte and Grabocka, ICDM 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.hyperparameters import check_number, preference_of
from mtlgrad.method import Traits, sized
from mtlgrad.scalarizers.base import Scalarizer
from mtlgrad.spaces import LogUniform, Simplex, searched


@dataclass(frozen=True)
class COSMOS(Scalarizer):
    r"""The preferred sum of the losses, less a reward for their being in the preferred proportions.

    .. math:: S = r^\top L - \lambda\, \frac{r^\top L}{\|r\| \|L\|}, \qquad
              w = r - \lambda \Bigl(\frac{r}{\|r\| \|L\|} - \frac{r^\top L}{\|r\| \|L\|^3} L\Bigr)

    Shapes: losses [m] -> w [m] = dS / dL. All losses 0, which have no proportions, give w = r. A loss far below its
    proportion may get a negative weight.

    Parameters
    ----------
    preference:
        r: one number >= 0 per task, not all 0; None: 1 / m each.
    lam:
        lambda >= 0. The paper tunes it for each problem, from 0.01 to 8; 0 is the weighted sum.

    Examples
    --------
    >>> COSMOS(preference=(1.0, 0.0), lam=5.0).loss_weights(torch.tensor([3.0, 4.0]))  # |L| = 5, cosine 3/5
    tensor([0.3600, 0.4800])

    Deviations: the objective only. The paper draws r anew at each step and feeds it to the network, so that one
    network learns the whole front: make a value a step, ``balancer.method`` stays as it is made.

    References
    ----------
    Ruchte, Grabocka, "Scalable Pareto Front Approximation for Deep Multi-Objective Learning", ICDM 2021, Eq. 5.
    """

    per_task = ("preference",)

    preference: tuple[float, ...] | None = None
    lam: float = 1.0

    search_space = searched(lam=LogUniform(0.01, 10.0), preference=Simplex())

    def __post_init__(self) -> None:
        object.__setattr__(self, "preference", preference_of(self.preference))
        check_number("lam", self.lam, low=0)

    @property
    def traits(self) -> Traits:
        return sized(Traits(needs_losses=True), self.preference)

    def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
        m = len(losses)
        preference = losses.new_tensor([1 / m] * m if self.preference is None else self.preference)
        size = losses.abs().max()
        safe = torch.where(size > 0, size, 1.0)
        relative = losses / safe
        length = torch.where(size > 0, relative.norm(), 1.0)
        along, unit = preference / preference.norm(), relative / length
        turn = (along - (along @ unit) * unit) / length / safe
        limit = torch.finfo(losses.dtype).max
        return preference - torch.where(size > 0, (self.lam * turn).clamp(-limit, limit), 0.0)
