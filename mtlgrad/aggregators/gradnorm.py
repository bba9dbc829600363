"""GradNorm: gradient normalisation (Chen, Badrinarayanan, Lee and Rabinovich, ICML 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import StatefulGramAggregator
from mtlgrad.hyperparameters import check_number
from mtlgrad.method import State, Traits
from mtlgrad.presence import among_present
from mtlgrad.spaces import LogUniform, Uniform, searched


@dataclass(frozen=True)
class GradNorm(StatefulGramAggregator):
    r"""Weights learnt so that all gradients have one length, longer for the tasks that train more slowly.

    With the weighted lengths n_i = w_i |g_i|, their mean n, and the relative inverse training rates
    r_i = (L_i / L_i(0)) / mean_j(L_j / L_j(0)), the weights descend on

    .. math:: F(w) = \sum_i \bigl| n_i - n\, r_i^\alpha \bigr|, \qquad
              w \leftarrow w - \eta \nabla F(w), \qquad w \leftarrow m\, w / \textstyle\sum_i w_i

    where the targets n r_i^alpha count as constants, so that dF/dw_i = sign(n_i - n r_i^alpha) |g_i|. Then
    d = sum_i w_i g_i with the weights from before the update (Algorithm 1).

    Shapes: J [m, n] and losses [m] -> d [n]; G [m, m] and losses [m] -> w [m], which sum to m. State: w [m], ones at
    first; the initial losses [m], those of a task's own first step; whether it had one yet [m]. Absent tasks keep their
    share of w; the present ones' are brought to sum to their number.

    Parameters
    ----------
    alpha:
        Strength of the pull towards equal training rates, >= 0; 0 asks for equal lengths. The paper uses 1.5 on
        NYUv2 and 0.12 on its toy problem.
    lr:
        eta >= 0, in units of one over a gradient's length: as in the paper, the weights move faster where the
        gradients are longer.

    Examples
    --------
    The first step is the plain sum; the weights it leaves behind shrink the longer gradient's.

    >>> G = torch.tensor([[1.0, 0.0], [0.0, 9.0]])
    >>> w, state = GradNorm(lr=0.1).step(G, GradNorm().init(2), losses=torch.tensor([1.0, 1.0]))
    >>> w, state["weights"]
    (tensor([1., 1.]), tensor([1.2222, 0.7778], dtype=torch.float64))

    Deviations: lengths are taken over the shared parameters that the Balancer is given (the paper: the last shared
    layer) and plain descent moves the weights. A weight that the descent would turn negative becomes 0, from where
    F raises it again; if all would, they stay. A loss that is not positive, or was not at the first step, has no
    training rate and counts as untrained, L_i / L_i(0) = 1.

    References
    ----------
    Chen, Badrinarayanan, Lee, Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
    Multitask Networks", ICML 2018, Eq. 1-2, Algorithm 1.
    """

    alpha: float = 1.5
    lr: float = 0.025

    search_space = searched(alpha=Uniform(0.0, 3.0), lr=LogUniform(1e-3, 0.1))

    def __post_init__(self) -> None:
        check_number("alpha", self.alpha, low=0)
        check_number("lr", self.lr, low=0)

    traits = Traits(stateful=True, needs_losses=True, scale_equivariant=False)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        return {
            "weights": torch.ones(m, dtype=torch.float64, device=device),
            "initial_losses": torch.zeros(m, dtype=torch.float64, device=device),
            "started": torch.zeros(m, dtype=torch.bool, device=device),
        }

    def _step(
        self, gram: Tensor, state: State, *, losses: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        assert losses is not None  # needs_losses
        weights, share = among_present(state["weights"].to(gram.device), float(len(gram)))
        initial = torch.where(state["started"].to(gram.device), state["initial_losses"].to(gram.device), losses)
        moved = self._descend(weights, gram.diagonal().clamp(min=0).sqrt(), _training_rates(losses, initial))
        new = {
            "weights": moved * share,
            "initial_losses": initial,
            "started": torch.ones_like(state["started"]),
        }
        return weights, new

    def _descend(self, weights: Tensor, norms: Tensor, rates: Tensor) -> Tensor:
        lengths = weights * norms
        slope = torch.sign(lengths - lengths.mean() * rates**self.alpha) * norms
        moved = (weights - self.lr * slope).clamp(min=0)
        total = moved.sum()
        return torch.where(total > 0, moved * (len(weights) / torch.where(total > 0, total, 1)), weights)


def _training_rates(losses: Tensor, initial: Tensor) -> Tensor:
    """r [m], with mean 1. In logarithms, so that losses of 1e-300 or 1e300 do not overflow the ratio."""
    known = (losses > 0) & (initial > 0)
    logs = torch.where(known, losses, 1).log() - torch.where(known, initial, 1).log()
    return len(losses) * logs.softmax(0)
