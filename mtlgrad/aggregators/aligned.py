"""Aligned-MTL: independent component alignment (Senushkin, Patakin, Kuznetsov and Konushin, CVPR 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.host import on_host
from mtlgrad.hyperparameters import check_choice, preference_of
from mtlgrad.method import Traits, sized
from mtlgrad.solvers.pair import aligned_pair
from mtlgrad.solvers.spectral import aligned_weights
from mtlgrad.spaces import Choice, searched


@dataclass(frozen=True)
class AlignedMTL(GramAggregator):
    r"""The preferred sum of gradients that were first made orthogonal and equally long, moved as little as possible.

    Of the Jacobians whose singular values all equal sigma, the nearest to J replaces it; p is the preference:

    .. math:: d = \sigma\, J^\top V \Lambda^{-1/2} V^\top p, \qquad G = V \Lambda V^\top \ \text{on its range}

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. The eigenvalues keep their relative accuracy for norms that differ
    by any factor.

    Parameters
    ----------
    preference:
        p: one number >= 0 a task, not all 0; None (default): 1 each.
    scale:
        sigma^2: the smallest non-zero eigenvalue of G ("min", the paper's: never a larger step than J allows), the
        lower "median", or their mean ("rmse").

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> AlignedMTL()(J)
    tensor([1., 1.])
    >>> AlignedMTL(preference=(1.0, 3.0), scale="rmse")(J)
    tensor([1.5811, 4.7434])

    Deviations: what counts as rank is read from the cosines of the gradients, so that a short gradient is not taken
    for a dependent one; the authors' tolerance is relative to the longest gradient and drops it. p = 1 as in the
    authors' code; with p = 1/m, as in the paper and torchjd, d is m times shorter. For the upper bound at the
    representation pass `features=` to `Balancer.backward`.

    References
    ----------
    Senushkin, Patakin, Kuznetsov, Konushin, "Independent Component Alignment for Multi-Task Learning", CVPR 2023,
    Eq. 4-5, Algorithm 1; "median" and "rmse": the authors' code.
    """

    per_task = ("preference",)

    preference: tuple[float, ...] | None = None
    scale: Literal["min", "median", "rmse"] = "min"

    search_space = searched(scale=Choice("min", "median", "rmse"))

    def __post_init__(self) -> None:
        check_choice("scale", self.scale, ("min", "median", "rmse"))
        object.__setattr__(self, "preference", preference_of(self.preference))

    @property
    def traits(self) -> Traits:
        return sized(Traits(closed_form_pair=True), self.preference)

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        if self.preference is None:
            preference = torch.ones_like(gram[0])
        else:
            preference = torch.tensor(self.preference, dtype=gram.dtype, device=gram.device)
        return on_host(
            lambda G: aligned_weights(G, preference.numpy(), self.scale),
            gram,
            pair=lambda G: aligned_pair(G, preference, self.scale),
        )
