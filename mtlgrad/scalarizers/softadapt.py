"""SoftAdapt: weights from the losses' rates of change (Heydari, Thompson and Mehmood, 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mtlgrad.hyperparameters import check_choice, check_number
from mtlgrad.method import State, Traits, positive
from mtlgrad.presence import filled
from mtlgrad.scalarizers.base import StatefulScalarizer
from mtlgrad.spaces import Choice, Uniform, searched


@dataclass(frozen=True)
class SoftAdapt(StatefulScalarizer):
    r"""More weight to the losses that rose, or fell least, since the last step.

    .. math:: w_i = \frac{c_i\, e^{\beta s_i}}{\sum_j c_j\, e^{\beta s_j}}, \qquad s_i = L_i^{(t)} - L_i^{(t-1)}

    with c = 1; w = 1/m at the first step, which has nothing to compare with. A task that joins later counts as having
    changed as the others did on average.

    Shapes: losses [m] -> w [m], on the simplex. State: the last losses and the tasks' step counters [m].

    Parameters
    ----------
    beta:
        Sharpness. > 0 favours the tasks that do worst, < 0 those that do best, 0 gives the mean.
    variant:
        "plain"; "normalized" divides s by sum_j |s_j| first, and so does not depend on the losses' units; "loss" takes
        c = L, so that large losses count more.

    Raises
    ------
    ValueError
        On a negative loss with variant="loss".

    Examples
    --------
    >>> method = SoftAdapt(beta=1.0, variant="normalized")
    >>> _, state = method.step(torch.tensor([1.0, 1.0]), method.init(2))
    >>> method.step(torch.tensor([0.5, 1.0]), state)[0]  # softmax(-1, 0)
    tensor([0.2689, 0.7311])

    Deviations: the rate is the first difference of consecutive steps, the paper's s; the authors' package takes finite
    differences of higher order over several evaluations and means of the losses over them for "loss".

    References
    ----------
    Heydari, Thompson, Mehmood, "SoftAdapt: Techniques for Adaptive Loss Weighting of Neural Networks with Multi-Part
    Loss Functions", arXiv 1912.12355, Sec. 3.1 and its two variants.
    """

    beta: float = 0.1
    variant: Literal["plain", "normalized", "loss"] = "plain"

    search_space = searched(beta=Uniform(-1.0, 10.0), variant=Choice("plain", "normalized", "loss"))

    traits = Traits(stateful=True, needs_losses=True, simplex=True)

    def __post_init__(self) -> None:
        check_number("beta", self.beta)
        check_choice("variant", self.variant, ("plain", "normalized", "loss"))

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        return {
            "last": torch.zeros(m, dtype=torch.float64, device=device),
            "steps": torch.zeros(m, dtype=torch.int64, device=device),
        }

    def _step(self, losses: Tensor, state: State, *, generator: torch.Generator | None) -> tuple[Tensor, State]:
        limit = torch.finfo(losses.dtype).max
        known = state["steps"] > 0
        change = filled((losses - state["last"]).clamp(-limit, limit), known)
        if self.variant == "normalized":
            change = change / change.abs().max().clamp(min=torch.finfo(losses.dtype).tiny)  # whose sum cannot overflow
            change = change / change.abs().sum().clamp(min=1)
        # The largest is taken off first: beta times a huge change would overflow to inf - inf.
        top = change.max() if self.beta >= 0 else change.min()
        logits = (self.beta * (change - top).clamp(-limit, limit)).clamp(min=-limit)
        if self.variant == "loss":
            logits = logits + positive(self, losses).log()
        weights = torch.where(known.any(), logits.softmax(0), 1 / len(losses))
        return weights, {"last": losses.clone(), "steps": state["steps"] + 1}
