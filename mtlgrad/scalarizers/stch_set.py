"""STCH-Set: a few solutions that together serve many tasks (Lin et al., ICLR 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mtlgrad.hyperparameters import check_integer, check_positive, preference_of, vector_of
from mtlgrad.method import Traits, sized
from mtlgrad.scalarizers.base import Scalarizer
from mtlgrad.spaces import LogUniform, searched


@dataclass(frozen=True)
class STCHSet(Scalarizer):
    r"""Trains k solutions at once, so that every task is served well by one of them.

    .. math:: S = \mu \log \sum_i \exp\frac{\lambda_i (s_i - z_i)}{\mu}, \qquad
              s_i = -\mu \log \sum_k \exp\frac{-L_{ki}}{\mu}

    with L_ki the loss of task i under solution k: s_i is a smooth minimum over the solutions, S a smooth maximum over
    the tasks, as in `STCH`.

    Shapes: losses [k t], all tasks' losses under the first solution, then under the second, ... -> w [k t], the
    gradient of S. For a Balancer the k t losses are its tasks: ``{"model 1, task 1": ..., "model 1, task 2": ...}``.

    Parameters
    ----------
    preference:
        lambda: one number > 0 for each of the t tasks.
    solutions:
        k >= 1. 1 is `STCH` but for the inner minimum, which then is the loss itself.
    mu:
        Smoothing of both, > 0, in units of loss.
    ideal:
        z: one number for all tasks, or one for each of the t.

    Examples
    --------
    Two solutions, two tasks; each is good at one of them.

    >>> STCHSet((0.5, 0.5), solutions=2).loss_weights(torch.tensor([0.0, 1.0, 1.0, 0.0]))
    tensor([0.1828, 0.0672, 0.0672, 0.1828])

    Deviations: one mu for all smooth minima and the maximum, as in the paper's experiments; its Eq. allows one each.

    References
    ----------
    Lin, Liu, Zhang, Liu, Wang, Zhang, "Few for Many: Tchebycheff Set Scalarization for Many-Objective Optimization",
    ICLR 2025, the definition of STCH-Set.
    """

    preference: tuple[float, ...]
    solutions: int = 2
    mu: float = 1.0
    ideal: float | tuple[float, ...] = 0.0

    search_space = searched(mu=LogUniform(1e-2, 10.0))

    def __post_init__(self) -> None:
        object.__setattr__(self, "preference", preference_of(self.preference, positive=True))
        object.__setattr__(self, "ideal", vector_of("ideal", self.ideal))
        if self.preference is None:
            raise TypeError("preference must hold one number > 0 for each task, got None")
        check_integer("solutions", self.solutions, low=1)
        check_positive("mu", self.mu)
        sized(Traits(), self.preference, self.ideal)

    @property
    def traits(self) -> Traits:
        m = self.solutions * len(self.preference)
        return Traits(needs_losses=True, permutation_equivariant=False, min_tasks=m, max_tasks=m)

    def among(self, present: Sequence[int]) -> STCHSet:
        """This method for fewer tasks, each with its loss under every solution; or for fewer solutions.

        Raises
        ------
        ValueError
            Where a task has a loss under some of the solutions only.
        """
        t = len(self.preference)
        solutions, tasks = ({one(k, t) for k in present} for one in (int.__floordiv__, int.__mod__))
        if list(present) != [k * t + i for k in sorted(solutions) for i in sorted(tasks)]:
            raise ValueError(
                f"{self.name} compares every solution on every task, and has losses number "
                f"{', '.join(map(str, present))} of {self.solutions} x {t} at this step: give a task's loss under all "
                "solutions, or under none"
            )
        kept = sorted(tasks)
        ideal = tuple(self.ideal[i] for i in kept) if isinstance(self.ideal, tuple) else self.ideal
        preference = tuple(self.preference[i] for i in kept)
        return replace(self, preference=preference, solutions=len(solutions), ideal=ideal)

    def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
        table = losses.view(self.solutions, -1)
        lowest = table.min(0).values
        drops = (table - lowest) / self.mu
        share = (-drops).softmax(0)
        smallest = lowest - self.mu * (-drops).logsumexp(0)
        preference = losses.new_tensor(self.preference)
        height = preference * (smallest - losses.new_tensor(self.ideal))
        lead = preference * ((height - height.max()) / self.mu).softmax(0)
        return (lead * share).reshape(-1)
