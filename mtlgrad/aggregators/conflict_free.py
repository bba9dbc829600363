"""ConFIG: conflict-free inverse gradients (Liu, Chu and Thuerey, ICLR 2025)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.host import Array, on_host
from mtlgrad.hyperparameters import preference_of
from mtlgrad.method import Traits, sized
from mtlgrad.solvers.pair import equal_cosine_pair
from mtlgrad.solvers.scaling import RESOLUTION, unit_diagonal
from mtlgrad.solvers.spectral import equal_cosine_weights


@dataclass(frozen=True)
class ConFIG(GramAggregator):
    r"""The direction that makes one angle with all gradients, as long as their summed projections on it.

    With U the gradients scaled to length 1 and + the pseudo-inverse:

    .. math:: d = \Bigl(\sum_i g_i^\top \hat d\Bigr)\, \hat d, \qquad \hat d = \frac{U^+ \mathbf 1}{\|U^+ \mathbf 1\|}

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. Solved on the cosines of the gradients: U^+ 1 = U^T (U U^T)^+ 1,
    so that no [m, n] matrix is ever inverted.

    Parameters
    ----------
    preference:
        p: one number >= 0 a task, not all 0, in the place of the vector of ones: the cosines of d with the gradients
        are proportional to it. None: 1 each.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    >>> ConFIG()(J)
    tensor([2., 2.])
    >>> ConFIG(preference=(3.0, 4.0))(J)  # along (3, 4) / 5, of length 3/5 + 3 * 4/5
    tensor([1.8000, 2.4000])

    Deviations: none where the gradients are independent, and d then conflicts with no task. Dependent gradients may
    allow no common angle; then the angles are the nearest to equal in the least-squares sense, d may conflict
    although the name denies it, and `fell_back` says so. Opposite gradients give d = 0. Zero gradients take no part.
    The authors' code solves a least-squares problem of size m x n, which a common LAPACK driver answers with 0 for
    rows that hold zero columns.

    References
    ----------
    Liu, Chu, Thuerey, "ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks", ICLR 2025,
    Eq. 2.
    """

    per_task = ("preference",)

    preference: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "preference", preference_of(self.preference))

    @property
    def traits(self) -> Traits:
        return sized(Traits(closed_form_pair=self.preference is None), self.preference)

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        if self.preference is None:
            return on_host(equal_cosine_weights, gram, pair=equal_cosine_pair)
        preference = np.asarray(self.preference, dtype=np.float64)
        return on_host(lambda G: equal_cosine_weights(G, preference), gram)

    def _fell_back(self, gram: Tensor) -> Tensor:
        weights = self._weights(gram, losses=None, generator=None)
        if len(gram) <= 2 and self.preference is None:  # two gradients that are not opposite always have a bisector
            return (weights == 0).all()
        preference = np.ones(len(gram)) if self.preference is None else np.asarray(self.preference, dtype=np.float64)
        return torch.tensor(_angles_differ(gram.numpy(), weights.numpy(), preference))


def _angles_differ(gram: Array, weights: Array, preference: Array) -> bool:
    """Whether the projections of d on the unit gradients are not as `preference` has them."""
    cosines, norms, live = unit_diagonal(gram)
    projections, wanted = (cosines @ (weights * norms))[live], preference[live]
    apart = projections - wanted * float(projections @ wanted) / float(wanted @ wanted or 1.0)
    return not weights.any() or bool(np.abs(apart).max() > RESOLUTION * (np.abs(weights) @ norms))
