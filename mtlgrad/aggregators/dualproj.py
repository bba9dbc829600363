"""DualProj: the projection of GEM, gradient episodic memory (Lopez-Paz and Ranzato, NeurIPS 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.host import on_host
from mtlgrad.hyperparameters import preference_of
from mtlgrad.method import Traits, sized
from mtlgrad.solvers.cone import project_onto_dual_cone
from mtlgrad.solvers.pair import dual_projection_pair


@dataclass(frozen=True)
class DualProj(GramAggregator):
    r"""The direction nearest to the (preferred) mean gradient that hurts no task.

    .. math:: d = \arg\min_x \tfrac12 \|x - g_0\|^2 \ \text{s.t.}\ J x \ge 0, \qquad g_0 = \sum_i p_i g_i

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. Solved exactly from G through the dual: w = p + v, v >= 0. A zero
    gradient constrains nothing and has weight p_i.

    Parameters
    ----------
    preference:
        p: one number >= 0 a task, not all 0; None: 1/m each.

    Examples
    --------
    The mean of these two, (0, 0.5), hurts neither; after the second grows it hurts the first.

    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> DualProj()(J)
    tensor([0.0000, 0.5000])
    >>> DualProj()(torch.tensor([[1.0, 0.0], [-3.0, 1.0]]))
    tensor([0.0000, 0.5000])

    Deviations: GEM projects the gradient of the current task, with one constraint for each task in its memory; here
    the tasks are trained together and their mean takes that place, as in torchjd, whose name for it this is. GEM's
    optional margin (v >= gamma instead of v >= 0) is left out: it trades the optimum away.

    References
    ----------
    Lopez-Paz, Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017; the dual: Eq. 11.
    """

    per_task = ("preference",)

    preference: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "preference", preference_of(self.preference))

    @property
    def traits(self) -> Traits:
        return sized(Traits(non_conflicting=True, closed_form_pair=True), self.preference)

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        point = torch.full_like(gram[0], 1 / len(gram)) if self.preference is None else gram.new_tensor(self.preference)
        return on_host(
            lambda G: project_onto_dual_cone(G, point.numpy()[None])[0],
            gram,
            pair=lambda G: dual_projection_pair(G, point),
        )
