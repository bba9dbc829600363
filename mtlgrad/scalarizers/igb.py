"""IGB: improvable gap balancing (Dai, Fei and Lu, UAI 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.hyperparameters import check_integer
from mtlgrad.method import State, Traits, positive
from mtlgrad.scalarizers.base import StatefulScalarizer


@dataclass(frozen=True)
class IGB(StatefulScalarizer):
    r"""Log losses, weighted by how large a share of an early epoch's loss is still left to improve.

    .. math:: S = \sum_i \lambda_i \log L_i, \qquad
              \lambda = m \operatorname{softmax}\Bigl(\frac{L}{L^{\text{base}}}\Bigr), \qquad
              w_i = \frac{\lambda_i}{L_i}

    with the mean losses of epoch `base` as L^base, and lambda = 1 until that epoch is over: the paper's IGBv1, whose
    ideal loss is 0. The base of a task that has no loss in that epoch is the next in which it has; until it is over,
    such a task counts as having all of its loss left, L / L^base = 1.

    Shapes: losses [m] -> w [m]. State, [m] each: the sum of the losses in the base epoch, their number and the epoch;
    and the step counter.

    Parameters
    ----------
    window:
        Steps in an epoch, an int >= 1.
    base:
        Which epoch is the base, from 0.

    Raises
    ------
    ValueError
        On a negative loss: it has no logarithm. One that is 0 counts as 1e-12 of the largest.

    Examples
    --------
    >>> method = IGB(window=1, base=0)
    >>> _, state = method.step(torch.tensor([1.0, 2.0]), method.init(2))
    >>> method.step(torch.tensor([1.0, 1.0]), state)[0]  # 2 softmax(1, 1/2)
    tensor([1.2449, 0.7551])

    Deviations: an epoch is a number of steps, as the losses do not tell where one ends. The paper's IGBv2 is left out
    (`docs/left_out.md`): it trains a reinforcement-learning agent beside the network.

    References
    ----------
    Dai, Fei, Lu, "Improvable Gap Balancing for Multi-Task Learning", UAI 2023, IGBv1.
    """

    window: int
    base: int = 1

    traits = Traits(stateful=True, needs_losses=True)

    def __post_init__(self) -> None:
        check_integer("window", self.window, low=1)
        check_integer("base", self.base, low=0)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        return {
            "sum": torch.zeros(m, dtype=torch.float64, device=device),
            "count": torch.zeros(m, dtype=torch.int64, device=device),
            "epoch": torch.zeros(m, dtype=torch.int64, device=device),
            "steps": torch.zeros((), dtype=torch.int64, device=device),
        }

    def _step(self, losses: Tensor, state: State, *, generator: torch.Generator | None) -> tuple[Tensor, State]:
        now = positive(self, losses)
        limit = torch.finfo(now.dtype).max
        total, count, epoch = state["sum"], state["count"], state["steps"] // self.window
        begun = count > 0
        ready = begun & (state["epoch"] < epoch)
        base = positive(self, torch.where(ready, total / count.clamp(min=1), 0.0))
        left = torch.where(ready, (now / base).clamp(max=limit), 1.0)
        gaps = torch.where(ready.any(), len(now) * (left - left.max()).softmax(0), 1.0)
        during = ~ready & (epoch >= self.base)
        return (gaps / now).clamp(max=limit), {
            "sum": torch.where(during, (total + losses).clamp(max=limit), total),
            "count": count + during,
            "epoch": torch.where(begun, state["epoch"], epoch),
            "steps": state["steps"] + 1,
        }
