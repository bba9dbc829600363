"""The weighted sum and its two commonest weightings: the baselines that every other method has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.hyperparameters import check_number, check_sequence
from mtlgrad.method import Traits
from mtlgrad.scalarizers.base import Scalarizer
from mtlgrad.spaces import Simplex, searched


@dataclass(frozen=True)
class Sum(Scalarizer):
    r"""Plain sum of the losses (equal weighting): no decision is taken.

    .. math:: d = \sum_i g_i

    Shapes: J [m, n] -> d [n]; losses [m] -> w [m], constant.

    Examples
    --------
    >>> Sum()(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    tensor([0., 1.])

    Deviations: LibMTL's documentation calls equal weighting 1/m while its code uses 1, as here; `Mean` is the other.

    References
    ----------
    Caruana, "Multitask Learning", Machine Learning 28, 1997.
    """

    traits = Traits(sums_without_conflict=True)

    def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
        return torch.ones_like(losses)


@dataclass(frozen=True)
class Mean(Scalarizer):
    r"""Plain mean of the losses: `Sum` with the learning rate divided by m.

    .. math:: d = \frac1m \sum_i g_i

    Shapes: J [m, n] -> d [n]; losses [m] -> w [m], constant.

    Examples
    --------
    >>> Mean()(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    tensor([0.0000, 0.5000])

    References
    ----------
    Caruana, "Multitask Learning", Machine Learning 28, 1997.
    """

    traits = Traits(simplex=True)

    def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
        return torch.full_like(losses, 1 / losses.shape[0])


@dataclass(frozen=True)
class Fixed(Scalarizer):
    r"""Weighted sum of the losses with constant weights; tuned, it is the baseline of Kurin et al. and Xin et al.

    .. math:: d = \sum_i w_i g_i

    Shapes: J [m, n] -> d [n]; losses [m] -> w [m], constant.

    Parameters
    ----------
    weights:
        One finite number per task, in task order.

    Examples
    --------
    >>> Fixed(weights=(1.0, 0.5))(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    tensor([0.5000, 0.5000])

    References
    ----------
    Kurin et al., "In Defense of the Unitary Scalarization for Deep Multi-Task Learning", NeurIPS 2022.
    Xin et al., "Do Current Multi-Task Optimization Methods in Deep Learning Even Help?", NeurIPS 2022.
    """

    per_task = ("weights",)

    weights: tuple[float, ...]

    search_space = searched(weights=Simplex())

    def __post_init__(self) -> None:
        check_sequence("weights", self.weights)
        object.__setattr__(self, "weights", tuple(self.weights))
        for k, weight in enumerate(self.weights):
            check_number(f"weights[{k}]", weight)

    @property
    def traits(self) -> Traits:
        return Traits(permutation_equivariant=False, min_tasks=len(self.weights), max_tasks=len(self.weights))

    def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
        return torch.tensor(self.weights, dtype=losses.dtype, device=losses.device)
