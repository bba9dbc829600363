"""FAMO: fast adaptive multitask optimization (Liu et al., NeurIPS 2023)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.hyperparameters import check_number, check_positive
from mtlgrad.method import State, Traits
from mtlgrad.presence import powers
from mtlgrad.scalarizers.base import StatefulScalarizer
from mtlgrad.spaces import LogUniform, searched

_BETAS, _ADAM_EPS = (0.9, 0.999), 1e-8  # torch.optim.Adam's, which the authors use
_EPSILON = 1e-8  # what the authors' code adds to L - b


@dataclass(frozen=True)
class FAMO(StatefulScalarizer):
    r"""Lowers all log losses at the same rate, learning from how the last step changed them: one backward pass.

    .. math:: w_i = \frac{z_i / D_i}{\sum_j z_j / D_j}, \quad z = \operatorname{softmax}(\xi), \quad D = L - b; \qquad
              \xi \leftarrow \xi - \beta \operatorname{Adam}\Bigl(
              \nabla z(\xi)^\top \bigl[\log D^{(t)} - \log D^{(t+1)}\bigr] + \gamma \xi \Bigr)

    Shapes: losses [m] -> w [m], on the simplex. State: xi, the last log D, Adam's two moments, all [m], and a counter.

    Parameters
    ----------
    lr:
        Step size beta of the logits xi, > 0.
    decay:
        gamma >= 0, pulls xi to 0. The authors use 0.001 in scripts, 0.01 on the command line and for Cityscapes.
    floor:
        b, the least value of each loss: one number for all tasks, or one per task. A loss at or below it counts as
        just above it, by 1e-8: a task that has arrived gets the weight and has no gradient to spend it on.

    Examples
    --------
    >>> FAMO().loss_weights(torch.tensor([1.0, 3.0]))
    tensor([0.7500, 0.2500])

    Deviations: the paper measures the improvement by a second forward pass on the same batch after the update; here it
    is read from the next step's losses, which saves that pass (and leaves BatchNorm's statistics alone) and adds the
    noise between batches. The authors' code gives NaN for L < b.

    References
    ----------
    Liu, Feng, Stone, Liu, "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, Algorithm 1.
    """

    per_task = ("floor",)

    lr: float = 0.025
    decay: float = 0.001
    floor: float | tuple[float, ...] = 0.0

    search_space = searched(lr=LogUniform(1e-3, 0.1), decay=LogUniform(1e-5, 0.1))

    def __post_init__(self) -> None:
        check_positive("lr", self.lr)
        check_number("decay", self.decay, low=0)
        if not isinstance(self.floor, Sequence):
            check_number("floor", self.floor)
            return
        object.__setattr__(self, "floor", tuple(self.floor))
        if not self.floor:
            raise ValueError("floor must hold one number per task, got none")
        for k, one in enumerate(self.floor):
            check_number(f"floor[{k}]", one)

    @property
    def traits(self) -> Traits:
        plain = Traits(stateful=True, needs_losses=True, simplex=True)
        if not isinstance(self.floor, tuple):
            return plain
        m = len(self.floor)
        return dataclasses.replace(plain, permutation_equivariant=False, min_tasks=m, max_tasks=m)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        names = ("logits", "log_losses", "first_moment", "second_moment")
        vectors = {name: torch.zeros(m, dtype=torch.float64, device=device) for name in names}
        return {**vectors, "steps": torch.zeros(m, dtype=torch.int64, device=device)}

    def _step(self, losses: Tensor, state: State, *, generator: torch.Generator | None) -> tuple[Tensor, State]:
        logs = ((losses - losses.new_tensor(self.floor)).clamp(min=0) + _EPSILON).log()
        seen = state["steps"] > 0
        updated = self._learn(state, torch.where(seen, state["log_losses"] - logs, 0.0), seen)
        # A task's first loss has nothing before it to be compared with.
        known = {name: torch.where(seen, new, state[name]) for name, new in updated.items()}
        weights = (known["logits"].log_softmax(0) - logs).softmax(0)
        return weights, {**known, "log_losses": logs, "steps": state["steps"] + 1}

    def _learn(self, state: State, improvement: Tensor, seen: Tensor) -> State:
        """One step of Adam on the logits; `improvement` [m] is how far each log loss that was `seen` before fell."""
        z = state["logits"].softmax(0)
        share = torch.where(seen, z, 0.0)
        usual = share @ improvement / share.sum().clamp(min=torch.finfo(z.dtype).tiny)
        improvement = torch.where(seen, improvement, usual)  # which moves no other task's logit
        gradient = z * (improvement - z @ improvement) + self.decay * state["logits"]
        first = _BETAS[0] * state["first_moment"] + (1 - _BETAS[0]) * gradient
        second = _BETAS[1] * state["second_moment"] + (1 - _BETAS[1]) * gradient.square()
        mean = first / (1 - powers(_BETAS[0], state["steps"], torch.float32))
        size = (second / (1 - powers(_BETAS[1], state["steps"], torch.float32))).sqrt()
        logits = state["logits"] - self.lr * mean / (size + _ADAM_EPS)
        return {"logits": logits, "first_moment": first, "second_moment": second}
