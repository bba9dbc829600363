"""ReLoBRaLo: relative loss balancing with random lookback (Bischof and Kraus, 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.hyperparameters import check_number, check_positive
from mtlgrad.method import State, Traits, positive
from mtlgrad.presence import among_present
from mtlgrad.scalarizers.base import StatefulScalarizer
from mtlgrad.spaces import Choice, LogUniform, Uniform, searched


@dataclass(frozen=True)
class ReLoBRaLo(StatefulScalarizer):
    r"""More weight to the losses that have fallen least, since the last step and, now and then, since the first.

    .. math:: \hat w(t, t') = m \operatorname{softmax}\Bigl(\frac{L^{(t)}}{T L^{(t')}}\Bigr), \qquad
              w^{(t)} = \alpha \bigl(\rho\, w^{(t-1)} + (1 - \rho)\, \hat w(t, 0)\bigr)
              + (1 - \alpha)\, \hat w(t, t - 1)

    with rho drawn anew each step: 1 with probability `memory`, else 0; w = 1 at the first step. A task that joins later
    counts as not having changed, L^(t') = L^(t), with 1 as its last weight; absent tasks keep their share of the
    weights.

    Shapes: losses [m] -> w [m], summing to m. State: the first losses, the last, the weights and the tasks' step
    counters, [m] each.

    Parameters
    ----------
    alpha:
        Share of the past, in [0, 1].
    temperature:
        T > 0: towards 0 one task gets all the weight, for large T all get the same.
    memory:
        E[rho] in [0, 1]: how often the past is the last weights, and not a look back to the first losses.

    Raises
    ------
    ValueError
        On a negative loss: progress is a ratio of losses >= 0. One that is 0 counts as 1e-12 of the largest.

    Examples
    --------
    >>> method = ReLoBRaLo(alpha=0.0, temperature=1.0)
    >>> _, state = method.step(torch.tensor([1.0, 1.0]), method.init(2))
    >>> method.step(torch.tensor([0.5, 1.0]), state)[0]  # 2 softmax(1/2, 1)
    tensor([0.7551, 1.2449])

    Deviations: none. The paper tunes the three for each problem; the defaults are values of its study. PhysicsNeMo and
    neuraloperator start from alpha = 0.95, E[rho] = 0.99, T = 1, and scale by 1/m at times.

    References
    ----------
    Bischof, Kraus, "Multi-Objective Loss Balancing for Physics-Informed Deep Learning", arXiv 2110.09813, the
    definition of ReLoBRaLo.
    """

    alpha: float = 0.999
    temperature: float = 0.1
    memory: float = 0.99

    search_space = searched(
        alpha=Choice(0.9, 0.99, 0.999), temperature=LogUniform(1e-2, 100.0), memory=Uniform(0.5, 1.0)
    )

    traits = Traits(stateful=True, needs_losses=True, stochastic=True)

    def __post_init__(self) -> None:
        check_number("alpha", self.alpha, low=0, high=1)
        check_positive("temperature", self.temperature)
        check_number("memory", self.memory, low=0, high=1)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        return {
            "first": torch.ones(m, dtype=torch.float64, device=device),
            "last": torch.ones(m, dtype=torch.float64, device=device),
            "weights": torch.ones(m, dtype=torch.float64, device=device),
            "steps": torch.zeros(m, dtype=torch.int64, device=device),
        }

    def _step(self, losses: Tensor, state: State, *, generator: torch.Generator | None) -> tuple[Tensor, State]:
        now, starting = positive(self, losses), state["steps"] == 0
        place = torch.device("cpu") if generator is None else generator.device
        keep = (torch.rand((), generator=generator, device=place) < self.memory).to(losses.device)
        first = torch.where(starting, now, state["first"])
        kept, share = among_present(state["weights"], float(len(losses)))
        past = torch.where(keep, kept, self._balanced(now, first))
        last = torch.where(starting, now, state["last"])
        weights = self.alpha * past + (1 - self.alpha) * self._balanced(now, last)
        weights = torch.where(starting.all(), 1.0, weights)
        return weights, {"first": first, "last": now.clone(), "weights": weights * share, "steps": state["steps"] + 1}

    def _balanced(self, now: Tensor, then: Tensor) -> Tensor:
        ratios = (now / then).clamp(max=torch.finfo(now.dtype).max)
        return len(now) * ((ratios - ratios.max()) / self.temperature).softmax(0)
