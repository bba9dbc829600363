"""Learning-rate annealing for the losses of physics-informed networks (Wang, Teng and Perdikaris, 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import JacobianAggregator
from mtlgrad.hyperparameters import check_integer, check_number
from mtlgrad.linalg import combine
from mtlgrad.method import State, Traits
from mtlgrad.spaces import LogUniform, searched


@dataclass(frozen=True)
class LRAnnealing(JacobianAggregator):
    r"""The main loss as it is, every other scaled until its gradient's entries are as large on average as its largest.

    .. math:: \hat\lambda_i = \frac{\max_k |J_{1k}|}{\tfrac1n \sum_k |J_{ik}|}, \qquad
              \lambda_i \leftarrow (1 - \alpha) \lambda_i + \alpha \hat\lambda_i, \qquad
              d = g_1 + \sum_{i \ne 1} \lambda_i g_i

    with 1 standing for the main task (the residual of the equation) and all lambda 1 at first.

    Shapes: J [m, n] -> d [n]. State: lambda [m]. A zero gradient leaves its lambda as it was.

    Parameters
    ----------
    main:
        Index of the main task, from 0; it must have a loss at every step.
    alpha:
        Speed of the moving average, in [0, 1].

    Examples
    --------
    >>> J = torch.tensor([[4.0, 0.0], [0.0, 1.0]])
    >>> LRAnnealing(alpha=1.0)(J)  # 4 / (1/2)
    tensor([4., 8.])

    Deviations: the default is what the authors' code does, which keeps 0.9 of the past; read as printed, their text
    recommends alpha = 0.9. Their code averages over layers the mean of each; here every entry counts once.

    References
    ----------
    Wang, Teng, Perdikaris, "Understanding and Mitigating Gradient Flow Pathologies in Physics-Informed Neural
    Networks", SIAM Journal on Scientific Computing 43, 2021, Algorithm 1.
    """

    of_task = ("main",)

    main: int = 0
    alpha: float = 0.1

    search_space = searched(alpha=LogUniform(1e-2, 1.0))

    def __post_init__(self) -> None:
        check_integer("main (the index of a task)", self.main, low=0)
        check_number("alpha", self.alpha, low=0, high=1)

    @property
    def traits(self) -> Traits:
        return Traits(stateful=True, permutation_equivariant=False, min_tasks=self.main + 1)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        return {"weights": torch.ones(m, dtype=torch.float64, device=device)}

    def _step(
        self,
        jacobian: Tensor,
        state: State,
        *,
        losses: Tensor | None,
        generator: torch.Generator | None,
        features: Tensor | None,
    ) -> tuple[Tensor, State]:
        largest = jacobian[self.main].abs().max().double()
        means = torch.stack([torch.linalg.vector_norm(row, 1, dtype=torch.float64) for row in jacobian])
        means = means / jacobian.shape[1]
        known = (means > 0) & (largest > 0)
        wanted = torch.where(known, largest / torch.where(known, means, 1.0), state["weights"])
        weights = torch.lerp(state["weights"], wanted, self.alpha)
        weights[self.main] = 1.0
        return combine(weights, jacobian), {"weights": weights.clone()}
