"""DWL: the dynamic weight between alignment and discriminability (Xiao and Zhang, CVPR 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.hyperparameters import check_number
from mtlgrad.method import Traits
from mtlgrad.scalarizers.base import Scalarizer


@dataclass(frozen=True)
class DWL(Scalarizer):
    r"""Weighs domain alignment against class discriminability by how far each has come.

    .. math:: w = (T, 1 - T), \qquad T = \frac{A}{A + 1 - J}

    A is the measured distance between the domains and J how separable the classes are, both normalised to [0, 1]: the
    further apart the domains, the more weight on alignment; the less separable the classes, the more on the other.

    Shapes: losses [2], alignment first -> w [2], on the simplex. The losses are not read.

    Parameters
    ----------
    alignment:
        A in [0, 1].
    discriminability:
        J in [0, 1].

    Examples
    --------
    >>> DWL(alignment=0.6, discriminability=0.8).loss_weights(torch.ones(2))
    tensor([0.7500, 0.2500])

    Deviations: a value takes the two quantities as measured, once an epoch in the authors' code (A the min-max
    normalised linear MMD, J the normalised least ratio of scatters over the domains); measuring them is the task's
    business: make a new value when they change. A = 0 and J = 1, where T is 0 / 0, gives 1/2, the authors' start.

    References
    ----------
    Xiao, Zhang, "Dynamic Weighted Learning for Unsupervised Domain Adaptation", CVPR 2021, the dynamic balance factor.
    """

    alignment: float
    discriminability: float

    traits = Traits(permutation_equivariant=False, simplex=True, min_tasks=2, max_tasks=2)

    def __post_init__(self) -> None:
        check_number("alignment", self.alignment, low=0, high=1)
        check_number("discriminability", self.discriminability, low=0, high=1)

    def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
        whole = self.alignment + 1 - self.discriminability
        share = self.alignment / whole if whole > 0 else 0.5
        return losses.new_tensor([share, 1 - share])
