"""M-ConFIG: ConFIG on the tasks' momenta (Liu et al., ICLR 2025)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import JacobianAggregator
from mtlgrad.aggregators.host import check_finite, on_host
from mtlgrad.hyperparameters import check_number
from mtlgrad.linalg import combine, gram
from mtlgrad.method import State, Traits
from mtlgrad.solvers.spectral import equal_cosine_weights
from mtlgrad.spaces import Choice, Uniform, searched

_EPSILON = 1e-8  # Adam's and the authors'


@dataclass(frozen=True)
class MConFIG(JacobianAggregator):
    r"""Adam's steps for several tasks: the momenta are made conflict-free, then divided by a common second moment.

    .. math:: M_i \leftarrow \beta_1 M_i + (1 - \beta_1) g_i, \quad
              c = \operatorname{ConFIG}\Bigl(\frac{M}{1 - \beta_1^t}\Bigr), \quad
              p_t = (1 - \beta_1^t)\, c, \quad
              v \leftarrow \beta_2 v + (1 - \beta_2) \Bigl(\frac{p_t - \beta_1 p_{t-1}}{1 - \beta_1}\Bigr)^2, \quad
              d = \frac{c}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    The gradient whose momentum would have given c stands in for one in the second moment v.

    Shapes: J [m, n] -> d [n]. State: M [m, n], p and sqrt(v) [n], in at least float32, and the step counter t; all zero
    at first. d is a step like Adam's already: let plain SGD take it.

    Parameters
    ----------
    beta1, beta2:
        Forgetting rates of the momenta and of the second moment, in [0, 1).

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    >>> MConFIG()(J)
    tensor([1., 1.])

    Deviations: every momentum moves at every step, where the paper takes one task's gradient a step in turn to save
    backward passes; the Balancer has them all.

    References
    ----------
    Liu, Chu, Thuerey, "ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks", ICLR 2025,
    Algorithm 1 (M-ConFIG).
    """

    beta1: float = 0.9
    beta2: float = 0.999

    search_space = searched(beta1=Uniform(0.5, 0.99), beta2=Choice(0.9, 0.99, 0.999))

    traits = Traits(stateful=True, scale_equivariant=False)

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            check_number(name, getattr(self, name), low=0, high=1)
            if getattr(self, name) == 1:
                raise ValueError(f"{name} must be a number in [0, 1), got 1: the moving average would never start")

    def init_like(self, jacobian: Tensor) -> State:
        wide = torch.promote_types(jacobian.dtype, torch.float32)
        return {
            "momenta": torch.zeros_like(jacobian, dtype=wide),
            "momentum": torch.zeros_like(jacobian[0], dtype=wide),
            "root": torch.zeros_like(jacobian[0], dtype=wide),
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
        steps = state["steps"] + 1
        momenta = state["momenta"].lerp(jacobian.to(state["momenta"].dtype), 1 - self.beta1)
        unbiased = 1 - self.beta1 ** steps.to(torch.float64)
        measured = gram(momenta).to("cpu", torch.float64)
        check_finite("the momenta's Gramian", measured)
        weights = on_host(equal_cosine_weights, measured)
        # ConFIG is linear in the scale of its input, so that the bias is corrected after it.
        momentum = combine(weights.to(momenta.device), momenta, measured)
        stand_in = (momentum - self.beta1 * state["momentum"]) / (1 - self.beta1)
        # sqrt(v) in place of v: the square of a large float32 gradient would overflow.
        root = torch.hypot(math.sqrt(self.beta2) * state["root"], math.sqrt(1 - self.beta2) * stand_in)
        size = root / (1 - self.beta2 ** steps.to(torch.float64)).sqrt().to(root)
        direction = momentum / unbiased.to(momentum) / (size + _EPSILON)
        after = {"momenta": momenta, "momentum": momentum, "root": root, "steps": steps}
        return direction.to(jacobian.dtype), after
