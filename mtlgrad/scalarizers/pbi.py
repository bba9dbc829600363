"""PBI: penalty-based boundary intersection (Zhang and Li, IEEE TEC 2007)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.hyperparameters import check_number, preference_of, vector_of
from mtlgrad.method import Traits, sized
from mtlgrad.scalarizers.base import Scalarizer
from mtlgrad.spaces import LogUniform, Simplex, searched


@dataclass(frozen=True)
class PBI(Scalarizer):
    r"""Descends along a preferred ray of loss values and pulls towards it.

    .. math:: S = d_1 + \theta d_2, \qquad d_1 = \hat\lambda^\top (L - z), \quad
              d_2 = \|(L - z) - d_1 \hat\lambda\|, \quad \hat\lambda = \lambda / \|\lambda\|

    Shapes: losses [m] -> w [m] = dS / dL. On the ray, where d_2 = 0 has no gradient, the penalty pulls nowhere.
    Weights of losses far below the ray are negative: there the penalty asks for larger ones.

    Parameters
    ----------
    preference:
        lambda: the ray's direction, one number >= 0 per task, not all 0; None: 1 each.
    theta:
        Strength of the penalty, >= 0. The paper takes 5.
    ideal:
        z: one number for all tasks, or one per task.

    Examples
    --------
    >>> PBI(theta=2.0).loss_weights(torch.tensor([1.0, 3.0]))  # (1, 1) / sqrt 2 + 2 (-1, 1) / sqrt 2
    tensor([-0.7071,  2.1213])

    Deviations: none. torchjd adds a small constant under the root of d_2.

    References
    ----------
    Zhang, Li, "MOEA/D: A Multiobjective Evolutionary Algorithm Based on Decomposition", IEEE Transactions on
    Evolutionary Computation 11, 2007, Sec. II-C.
    """

    per_task = ("preference", "ideal")

    preference: tuple[float, ...] | None = None
    theta: float = 5.0
    ideal: float | tuple[float, ...] = 0.0

    search_space = searched(theta=LogUniform(0.1, 10.0), preference=Simplex())

    def __post_init__(self) -> None:
        object.__setattr__(self, "preference", preference_of(self.preference))
        object.__setattr__(self, "ideal", vector_of("ideal", self.ideal))
        check_number("theta", self.theta, low=0)
        sized(Traits(), self.preference, self.ideal)

    @property
    def traits(self) -> Traits:
        return sized(Traits(needs_losses=True), self.preference, self.ideal)

    def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
        ray = torch.ones_like(losses) if self.preference is None else losses.new_tensor(self.preference)
        ray = ray / ray.norm()
        height = losses - losses.new_tensor(self.ideal)
        size = height.abs().max().clamp(min=torch.finfo(losses.dtype).tiny)
        height = height / size  # the gradient of a length does not depend on the scale
        aside = height - (ray @ height) * ray
        distance = aside.norm()
        on_ray = distance <= 8 * torch.finfo(losses.dtype).eps
        pull = torch.where(on_ray, 0.0, aside / torch.where(on_ray, 1.0, distance))
        return torch.add(ray, pull, alpha=self.theta)
