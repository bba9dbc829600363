"""IMTL-L: impartial loss balancing (Liu et al., ICLR 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.hyperparameters import check_positive
from mtlgrad.method import State, Traits
from mtlgrad.scalarizers.base import LOG_BOUND, StatefulScalarizer
from mtlgrad.spaces import LogUniform, searched


@dataclass(frozen=True)
class IMTLL(StatefulScalarizer):
    r"""Each loss multiplied by a learned factor that is at rest where the weighted loss is 1.

    .. math:: S = \sum_i e^{s_i} L_i - s_i, \qquad w_i = e^{s_i}, \qquad
              s_i \leftarrow s_i - \eta \bigl(e^{s_i} L_i - 1\bigr)

    Shapes: losses [m] -> w [m]. State: s [m].

    Parameters
    ----------
    lr:
        Step size eta of s, > 0.

    Examples
    --------
    >>> method = IMTLL(lr=1.0)
    >>> losses = torch.tensor([3.0, 1.0])
    >>> w, state = method.step(losses, method.init(2))
    >>> w, state["s"]
    (tensor([1., 1.]), tensor([-2.,  0.], dtype=torch.float64))

    Deviations: s takes a plain gradient step of its own size, after the weights were read, where the paper hands it to
    the network's optimizer. s stays within +-30, which only losses beyond 1e-13 or 1e13 reach; a loss that stays
    negative has no optimal s and ends at the bound. LibMTL always adds IMTL-G; here the two are separate. Twice `UW`
    with the sign of s turned.

    References
    ----------
    Liu, Li, Kuang, Xue, Chen, Yang, Liao, Zhang, "Towards Impartial Multi-task Learning", ICLR 2021, Sec. 3.2, Eq. 6.
    """

    lr: float = 0.01

    search_space = searched(lr=LogUniform(1e-3, 0.1))

    traits = Traits(stateful=True, needs_losses=True)

    def __post_init__(self) -> None:
        check_positive("lr", self.lr)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        return {"s": torch.zeros(m, dtype=torch.float64, device=device)}

    def _step(self, losses: Tensor, state: State, *, generator: torch.Generator | None) -> tuple[Tensor, State]:
        factor = state["s"].exp()
        s = state["s"] - self.lr * (factor * losses - 1)
        return factor, {"s": s.clamp(-LOG_BOUND, LOG_BOUND)}
