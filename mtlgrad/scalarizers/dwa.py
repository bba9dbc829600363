"""DWA: dynamic weight average (Liu et al., CVPR 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.hyperparameters import check_integer, check_positive
from mtlgrad.method import State, Traits, positive
from mtlgrad.presence import filled
from mtlgrad.scalarizers.base import StatefulScalarizer
from mtlgrad.spaces import LogUniform, searched


@dataclass(frozen=True)
class DWA(StatefulScalarizer):
    r"""More weight to the tasks whose loss has fallen least from one epoch to the next.

    .. math:: w_i = m\, \frac{\exp(r_i / T)}{\sum_j \exp(r_j / T)}, \qquad
              r_i = \frac{\bar L_i(e - 1)}{\bar L_i(e - 2)}

    with the means of the losses over the last two epochs in which the task had any; w = 1 until there are two. A task
    that has fewer, where others have two, counts as having fallen as these did on average.

    Shapes: losses [m] -> w [m], summing to m. State, [m] each: the two means, the running sum, how many losses are in
    it and of which epoch, and how many epochs were complete; and the step counter.

    Parameters
    ----------
    window:
        Steps in an epoch, an int >= 1.
    temperature:
        T > 0; the larger, the more equal the weights. 2 in the paper.

    Raises
    ------
    ValueError
        On a negative loss: a rate of descent is a ratio of losses >= 0. A mean that is 0 counts as 1e-12 of the
        largest task's.

    Examples
    --------
    >>> method = DWA(window=1)
    >>> state = method.init(2)
    >>> for losses in ([4.0, 1.0], [2.0, 1.0], [1.0, 1.0]):
    ...     w, state = method.step(torch.tensor(losses), state)
    >>> w  # 2 softmax(1/4, 1/2)
    tensor([0.8756, 1.1244])

    Deviations: an epoch is a number of steps, as the losses do not tell where one ends. The nash-mtl code has windows
    of 25 steps and means over tasks instead of sums.

    References
    ----------
    Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, Eq. 7.
    """

    window: int
    temperature: float = 2.0

    search_space = searched(temperature=LogUniform(0.5, 10.0))

    traits = Traits(stateful=True, needs_losses=True)

    def __post_init__(self) -> None:
        check_integer("window", self.window, low=1)
        check_positive("temperature", self.temperature)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        vectors = {name: torch.zeros(m, dtype=torch.float64, device=device) for name in ("sum", "last", "before")}
        counts = {name: torch.zeros(m, dtype=torch.int64, device=device) for name in ("count", "epoch", "complete")}
        return {**vectors, **counts, "steps": torch.zeros((), dtype=torch.int64, device=device)}

    def _step(self, losses: Tensor, state: State, *, generator: torch.Generator | None) -> tuple[Tensor, State]:
        positive(self, losses)  # raises on a negative loss
        # An epoch of a task ends when a later one is met: at its very last step the task may be absent.
        epoch = state["steps"] // self.window
        over = (state["count"] > 0) & (state["epoch"] < epoch)
        last = torch.where(over, state["sum"] / state["count"].clamp(min=1), state["last"])
        before = torch.where(over, state["last"], state["before"])
        complete = state["complete"] + over
        ready = complete >= 2
        rates = positive(self, last) / positive(self, before)
        rates = filled(rates.clamp(max=torch.finfo(torch.float64).max), ready)
        weights = len(losses) * ((rates - rates.max()) / self.temperature).softmax(0)
        return torch.where(ready.any(), weights, 1.0), {
            "sum": torch.where(over, 0.0, state["sum"]) + losses,
            "last": last,
            "before": before,
            "count": torch.where(over, 0, state["count"]) + 1,
            "epoch": epoch.expand_as(over).clone(),
            "complete": complete,
            "steps": state["steps"] + 1,
        }
