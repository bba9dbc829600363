"""ExcessMTL: robust multi-task learning with excess risks (He et al., ICML 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import JacobianAggregator
from mtlgrad.hyperparameters import check_integer, check_number
from mtlgrad.linalg import combine
from mtlgrad.method import State, Traits
from mtlgrad.presence import filled
from mtlgrad.spaces import LogUniform, searched

_DAMPING = 1e-7  # the authors': keeps 0 / 0 out of coordinates that have had no gradient yet
_ROUNDING = 1e-9  # how far from 1 the sum of weights may be that are normalised


@dataclass(frozen=True)
class ExcessMTL(JacobianAggregator):
    r"""More weight to the tasks that are estimated to be furthest above their own best loss.

    .. math:: H \leftarrow H + J \circ J, \qquad E_i = \sum_k \frac{J_{ik}^2}{\sqrt{H_{ik} + \epsilon}}, \qquad
              w_i \propto w_i \exp\Bigl(\eta \frac{E_i}{E^0_i}\Bigr), \qquad d = w J

    E is a second-order estimate of the excess risk with a diagonal Hessian as in AdaGrad, E^0 its value at the start.

    Shapes: J [m, n] -> d [n]. State: sqrt(H) [m, n] in at least float32; log w, E^0, the tasks' step counters and among
    how many tasks log w was last normalised, [m] each. A task that joins later has its own warm-up, with the mean of
    the others' weights; absent tasks keep their share.

    Parameters
    ----------
    eta:
        Step size of the weights, >= 0. 0.01 is the authors' default, 1 their README's.
    warmup:
        Steps of equal weights over which E^0 is averaged, an int >= 1. The paper warms up for three epochs, the
        authors' code for one step.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> ExcessMTL()(J)
    tensor([0.0000, 0.5000])

    Deviations: w starts at 1 / m and stays on the simplex, as in the paper; the authors' code starts at 1, and feeds
    the first E undivided into the update. A task whose E^0 is 0 (a zero gradient) counts as E / E^0 = 0. The damping
    epsilon = 1e-7 is the authors' and absolute, so that the weights notice the scale of very small gradients.

    References
    ----------
    He, Zhou, Zhang, Yun, Xu, Zeng, Chilimbi, Zhao, "Robust Multi-Task Learning with Excess Risks", ICML 2024,
    Eq. 6, 7 and 9; the warm-up: App. C.1.
    """

    eta: float = 0.01
    warmup: int = 1

    search_space = searched(eta=LogUniform(1e-3, 1.0))

    traits = Traits(stateful=True, scale_equivariant=False)

    def __post_init__(self) -> None:
        check_number("eta", self.eta, low=0)
        check_integer("warmup", self.warmup, low=1)

    def init_like(self, jacobian: Tensor) -> State:
        m, device = len(jacobian), jacobian.device
        return {
            "root": torch.zeros_like(jacobian, dtype=torch.promote_types(jacobian.dtype, torch.float32)),
            "log_weights": torch.zeros(m, dtype=torch.float64, device=device),
            "baseline": torch.zeros(m, dtype=torch.float64, device=device),
            "steps": torch.zeros(m, dtype=torch.int64, device=device),
            "among": torch.zeros(m, dtype=torch.int64, device=device),
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
        wide = jacobian.to(state["root"].dtype)
        # sqrt(H) in place of H: the square of a large float32 gradient would overflow.
        root = torch.hypot(state["root"], wide)
        excess = (wide / root.hypot(root.new_tensor(math.sqrt(_DAMPING))) * wide).sum(1, dtype=torch.float64)
        starting = state["steps"] < self.warmup
        baseline = torch.where(starting, state["baseline"] + excess / self.warmup, state["baseline"])
        relative = torch.where(baseline > 0, excess / baseline.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
        if _normalised(state["log_weights"], state["among"]):  # the ordinary case, with fewer operations
            weights = kept = (state["log_weights"] + self.eta * relative).log_softmax(0)
            among = state["among"]
        else:
            old, level = _comparable(state["log_weights"], state["among"])
            grown = (old + self.eta * filled(relative, ~starting)).log_softmax(0)
            weights = torch.where(starting.all(), old, grown)
            kept = torch.where(starting, state["log_weights"], grown + level)
            among = torch.where(starting, state["among"], len(jacobian))
        after = {"root": root, "log_weights": kept, "baseline": baseline, "steps": state["steps"] + 1, "among": among}
        return combine(weights.softmax(0), jacobian), after


def _normalised(log_weights: Tensor, among: Tensor) -> bool:
    """Whether log w [m] are those of these tasks and no others."""
    return set(among.tolist()) == {len(among)} and abs(float(log_weights.logsumexp(0))) <= _ROUNDING


def _comparable(log_weights: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """log w [m] up to a constant, and the logarithm [] of the mean weight, where 1 is the mean of all tasks.

    Normalised among other tasks, or not yet, they are on different scales.
    """
    heights = torch.where(among > 0, log_weights + among.clamp(min=1).to(log_weights.dtype).log(), 0.0)
    level = heights.logsumexp(0) - math.log(len(heights))
    together = (among == among[0]).all()
    return torch.where(together, log_weights, heights), torch.where(level.abs() <= _ROUNDING, 0.0, level)
