"""DB-MTL: dual balancing of losses and gradients (Lin et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import JacobianAggregator
from mtlgrad.hyperparameters import check_number
from mtlgrad.linalg import combine
from mtlgrad.method import State, Traits, positive
from mtlgrad.spaces import Uniform, searched


@dataclass(frozen=True)
class DBMTL(JacobianAggregator):
    r"""Gradients of log losses, smoothed over steps and stretched to the length of the longest, then summed.

    .. math:: \hat g_i \leftarrow \beta_t \hat g_i + (1 - \beta_t) \frac{g_i}{L_i}, \quad
              \beta_t = \frac{\beta}{t^\sigma}, \qquad
              d = \max_j \|\hat g_j\| \sum_i \frac{\hat g_i}{\|\hat g_i\|}

    Shapes: J [m, n], losses [m] -> d [n]. State: the smoothed gradients [m, n] in at least float32, zero at first, and
    the step counter t. A task whose smoothed gradient is zero adds nothing. Scale traits hold at given losses.

    Parameters
    ----------
    beta:
        Forgetting rate of the moving average, in [0, 1): 0 keeps none of the past.
    sigma:
        Decay of beta with the step t, >= 0.

    Raises
    ------
    ValueError
        On a negative loss. A loss below 1e-12 of the largest counts as that much.

    Examples
    --------
    >>> J = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> DBMTL(beta=0.0)(J, losses=torch.tensor([1.0, 1.0]))
    tensor([2., 2.])

    Deviations: parameters of one task alone get the gradient of their loss, where the paper gives them that of its
    logarithm. The paper takes log(L + eps), LibMTL with eps = 1e-8.

    References
    ----------
    Lin, Jiang, Ye, Zhang, Chen, Chen, Liu, Tsang, Kwok, "Dual-Balancing for Multi-Task Learning", arXiv 2308.12029,
    Algorithm 1, Eq. 1-2.
    """

    beta: float = 0.9
    sigma: float = 0.0

    search_space = searched(beta=Uniform(0.0, 0.99), sigma=Uniform(0.0, 1.0))

    traits = Traits(stateful=True, needs_losses=True)

    def __post_init__(self) -> None:
        check_number("beta", self.beta, low=0, high=1)
        if self.beta == 1:
            raise ValueError("beta must be a number in [0, 1), got 1: the moving average would never start")
        check_number("sigma", self.sigma, low=0)

    def check_values(self, losses: Tensor) -> None:
        positive(self, losses)

    def init_like(self, jacobian: Tensor) -> State:
        return {
            "smoothed": torch.zeros_like(jacobian, dtype=torch.promote_types(jacobian.dtype, torch.float32)),
            "steps": torch.zeros((), dtype=torch.int64, device=jacobian.device),
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
        assert losses is not None
        steps = state["steps"] + 1
        wide = state["smoothed"].dtype
        keep = (self.beta / steps.to(torch.float64) ** self.sigma).to(wide)
        of_logs = jacobian.to(wide) / positive(self, losses).to(jacobian.device, wide)[:, None]
        smoothed = of_logs + keep * (state["smoothed"] - of_logs)
        norms = torch.linalg.vector_norm(smoothed, dim=1, dtype=torch.float64)
        weights = torch.where(norms > 0, norms.max() / norms.clamp(min=torch.finfo(norms.dtype).tiny), 0)
        return combine(weights, smoothed).to(jacobian.dtype), {"smoothed": smoothed, "steps": steps}
