"""SDMGrad: direction-oriented stochastic multi-objective gradient (Xiao, Ban and Ji, NeurIPS 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtlgrad.aggregators.base import StatefulGramAggregator
from mtlgrad.aggregators.host import Array
from mtlgrad.hyperparameters import check_integer, check_number
from mtlgrad.method import State, Traits
from mtlgrad.presence import among_present
from mtlgrad.solvers.simplex import project_onto_simplex
from mtlgrad.spaces import LogUniform, searched


@dataclass(frozen=True)
class SDMGrad(StatefulGramAggregator):
    r"""Between the mean gradient and the min-norm point, by a few projected steps that start from the last weights.

    With g_0 the mean gradient and s the mean of the gradients' lengths, w takes `steps` steps of projected gradient
    descent with momentum on

    .. math:: \min_{w \in \Delta} \frac{1}{2 s^2} \Bigl\|\sum_i w_i g_i + \lambda g_0\Bigr\|^2, \qquad
              d = \frac{1}{1 + \lambda} \Bigl(\sum_i w_i g_i + \lambda g_0\Bigr)

    Shapes: J [m, n] -> d [n]; G [m, m] -> weights on the rows [m]. State: w [m], 1/m at first; absent
    tasks keep their share of it.

    Parameters
    ----------
    lam:
        Pull towards the mean gradient, >= 0. 0 is an inexact `MGDA`; large values tend to the mean.
    lr, momentum:
        Of the descent on w: lr >= 0 and momentum in [0, 1]. The momentum starts anew at every step.
    steps:
        How many, at least 1.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> SDMGrad(lr=0.5, steps=200, lam=0.0)(J)  # MGDA, by descent
    tensor([0.2000, 0.4000])

    Deviations: the paper draws three independent batches, two for the gradient in w and one for the step. With the
    one batch a step of a training loop all three are the same (as they are in the authors' code, whose list of
    tensors holds one tensor three times). The defaults are the authors' code's: at lr = 10 the steps jump between
    corners of the simplex unless the objective is flat, which is part of the method as published.

    References
    ----------
    Xiao, Ban, Ji, "Direction-oriented Multi-objective Learning: Simple and Provable Stochastic Algorithms",
    NeurIPS 2023, the update of SDMGrad; the division by s: Sec. 6.1; that by 1 + lambda: the authors' code.
    """

    lam: float = 0.3
    lr: float = 10.0
    momentum: float = 0.5
    steps: int = 20

    search_space = searched(lam=LogUniform(1e-2, 10.0), lr=LogUniform(0.1, 30.0))

    def __post_init__(self) -> None:
        check_number("lam", self.lam, low=0)
        check_number("lr", self.lr, low=0)
        check_number("momentum", self.momentum, low=0, high=1)
        check_integer("steps", self.steps, low=1)

    traits = Traits(simplex=True, stateful=True)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        return {"weights": torch.full((m,), 1.0 / m, dtype=torch.float64, device=device)}

    def _step(
        self, gram: Tensor, state: State, *, losses: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        kept, share = among_present(state["weights"].cpu(), 1.0)
        weights = self._descend(gram.numpy(), kept.numpy())
        pulled = (weights + self.lam / len(weights)) / (1.0 + self.lam)
        return torch.from_numpy(pulled), {"weights": torch.from_numpy(weights) * share}

    def _descend(self, gram: Array, weights: Array) -> Array:
        scale = np.sqrt(gram.diagonal()).mean()
        gram = gram / scale**2 if scale > 0 else gram
        pull = gram.mean(1) * self.lam
        velocity = np.zeros_like(weights)
        for _ in range(self.steps):
            velocity = self.momentum * velocity + gram @ weights + pull
            weights = project_onto_simplex(weights - self.lr * velocity)
        return weights
