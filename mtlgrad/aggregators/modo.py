"""MoDo: multi-objective gradient with double sampling (Chen, Fernando, Ying and Chen, NeurIPS 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import StatefulGramAggregator
from mtlgrad.hyperparameters import check_number
from mtlgrad.method import State, Traits
from mtlgrad.presence import among_present
from mtlgrad.solvers.simplex import project_onto_simplex
from mtlgrad.spaces import LogUniform, searched


@dataclass(frozen=True)
class MoDo(StatefulGramAggregator):
    r"""Weights in the simplex that take one projected gradient step a training step towards the min-norm point.

    .. math:: \lambda_{t+1} = \Pi_\Delta\bigl(\lambda_t - \gamma (G \lambda_t + \rho \lambda_t)\bigr), \qquad
              d = J^\top \lambda_{t+1}

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. State: lambda [m], 1/m at first; absent tasks keep their share of it.

    Parameters
    ----------
    gamma:
        Step size of the weights, >= 0, in units of one over the squared length of a gradient: unlike most methods
        this one depends on the units of the losses.
    rho:
        Regularisation that pulls lambda towards 1/m, >= 0.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> MoDo(rho=0.0).weights(J @ J.T)
    tensor([0.5750, 0.4250])

    Deviations: the paper draws two independent batches a step, so that G = J_1 J_2^T is unbiased, and steps on
    both. With the one batch a step of a training loop J_1 = J_2, and the weights follow the batch's noise: its
    guarantee is then that of MGDA with noisy gradients. Keep gamma small, or the batch large.

    References
    ----------
    Chen, Fernando, Ying, Chen, "Three-Way Trade-Off in Multi-Objective Learning: Optimization, Generalization and
    Conflict-Avoidance", JMLR 25, 2024 (first at NeurIPS 2023), Eq. 2.9.
    """

    gamma: float = 0.1
    rho: float = 0.1

    search_space = searched(gamma=LogUniform(1e-4, 1.0), rho=LogUniform(1e-4, 1.0))

    def __post_init__(self) -> None:
        check_number("gamma", self.gamma, low=0)
        check_number("rho", self.rho, low=0)

    traits = Traits(simplex=True, stateful=True, scale_equivariant=False)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        return {"weights": torch.full((m,), 1.0 / m, dtype=torch.float64, device=device)}

    def _step(
        self, gram: Tensor, state: State, *, losses: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        old, share = among_present(state["weights"].to(gram.device), 1.0)
        moved = old - self.gamma * (gram @ old + self.rho * old)
        weights = torch.from_numpy(project_onto_simplex(moved.numpy()))
        return weights, {"weights": weights * share}
