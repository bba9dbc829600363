"""MoCo: multi-objective gradient correction (Fernando et al., ICLR 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import JacobianAggregator
from mtlgrad.aggregators.host import check_finite, on_host
from mtlgrad.hyperparameters import check_number
from mtlgrad.linalg import combine, gram
from mtlgrad.method import State, Traits
from mtlgrad.presence import among_present
from mtlgrad.solvers.simplex import project_onto_simplex
from mtlgrad.spaces import LogUniform, searched


@dataclass(frozen=True)
class MoCo(JacobianAggregator):
    r"""Min-norm weights learned step by step on tracked gradients, so that the noise of one batch does not bias them.

    .. math:: Y \leftarrow Y - \beta (Y - J), \qquad
              \lambda \leftarrow \Pi_\Delta\bigl(\lambda - \gamma (Y Y^\top + \rho I) \lambda\bigr), \qquad
              d = Y^\top \lambda

    Shapes: J [m, n] -> d [n]. State: Y [m, n] in at least float32, zero at first, and lambda [m], uniform at first;
    absent tasks keep their share of lambda. One pass over J and one exact projection on the simplex.

    Parameters
    ----------
    beta:
        Step size of the tracking Y, in [0, 1].
    gamma:
        Step size of lambda, >= 0. It has the unit of 1 / gradient^2: choose it for the size of the gradients.
    rho:
        Regularisation, >= 0: pulls lambda to uniform weights.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> MoCo(beta=1.0, gamma=0.0)(J)
    tensor([0.0000, 0.5000])

    Deviations: Y is updated first and then read, as in public code, so that the first direction is not zero. Step sizes
    are constant. LibMTL has a softmax in place of the projection, scales g by L / |g| and lets the step sizes decay.

    References
    ----------
    Fernando, Shen, Liu, Chaudhury, Murugesan, Chen, "Mitigating Gradient Bias in Multi-objective Learning: A Provably
    Convergent Approach", ICLR 2023, the update of MoCo.
    """

    beta: float = 0.1
    gamma: float = 0.1
    rho: float = 0.1

    search_space = searched(beta=LogUniform(1e-2, 1.0), gamma=LogUniform(1e-3, 1.0), rho=LogUniform(1e-3, 1.0))

    traits = Traits(stateful=True, scale_equivariant=False)

    def __post_init__(self) -> None:
        check_number("beta", self.beta, low=0, high=1)
        check_number("gamma", self.gamma, low=0)
        check_number("rho", self.rho, low=0)

    def init_like(self, jacobian: Tensor) -> State:
        m = len(jacobian)
        return {
            "tracked": torch.zeros_like(jacobian, dtype=torch.promote_types(jacobian.dtype, torch.float32)),
            "weights": torch.full((m,), 1 / m, dtype=torch.float64, device=jacobian.device),
        }

    def _step(
        self,
        jacobian: Tensor,
        state: State,
        *,
        losses: Tensor | None,
        generator: torch.Generator | None,
        features: Tensor | None,
    ) -> tuple[Tensor, State]:
        tracked = state["tracked"].lerp(jacobian.to(state["tracked"].dtype), self.beta)
        weights, share = among_present(state["weights"], 1.0)
        measured = gram(tracked)
        slope = measured.to(weights) @ weights + self.rho * weights
        moved = weights - self.gamma * slope
        here = moved.cpu()
        check_finite("the tracked gradients' slopes", here)
        weights = on_host(project_onto_simplex, here).to(moved.device)
        return combine(weights, tracked, measured).to(jacobian.dtype), {"tracked": tracked, "weights": weights * share}
