"""UW: weighting by homoscedastic uncertainty (Kendall et al., CVPR 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.hyperparameters import check_number, check_positive
from mtlgrad.method import State, Traits
from mtlgrad.scalarizers.base import LOG_BOUND, StatefulScalarizer
from mtlgrad.spaces import LogUniform, searched


@dataclass(frozen=True)
class UW(StatefulScalarizer):
    r"""Each loss divided by a variance that is learned beside the network, so that losses of any size count alike.

    .. math:: S = \sum_i \tfrac12 e^{-s_i} L_i + \tfrac12 s_i, \qquad w_i = \tfrac12 e^{-s_i}, \qquad
              s_i \leftarrow s_i - \eta\,\tfrac12 \bigl(1 - e^{-s_i} L_i\bigr)

    with s = log sigma^2, at rest where e^s = L.

    Shapes: losses [m] -> w [m]. State: s [m]. Scale traits hold at given losses, here as for every scalarizer.

    Parameters
    ----------
    lr:
        Step size eta of s, > 0.
    log_variance:
        s at the start. 0 as in torchjd and the nash-mtl code; LibMTL starts at -0.5.

    Examples
    --------
    >>> method = UW(lr=1.0)
    >>> losses = torch.tensor([3.0, 1.0])
    >>> w, state = method.step(losses, method.init(2))
    >>> w, state["s"]
    (tensor([0.5000, 0.5000]), tensor([1., 0.], dtype=torch.float64))

    Deviations: s takes a plain gradient step of its own size, after the weights were read, where the paper hands it to
    the network's optimizer. s stays within +-30, which only losses beyond 1e-13 or 1e13 reach; a loss that stays
    negative has no optimal s and ends at the bound. Samsung's code has e^-s L, without the half.

    References
    ----------
    Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and Semantics",
    CVPR 2018, Eq. 7 with s = log sigma^2.
    """

    lr: float = 0.01
    log_variance: float = 0.0

    search_space = searched(lr=LogUniform(1e-3, 0.1))

    traits = Traits(stateful=True, needs_losses=True)

    def __post_init__(self) -> None:
        check_positive("lr", self.lr)
        check_number("log_variance", self.log_variance, low=-LOG_BOUND, high=LOG_BOUND)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        return {"s": torch.full((m,), float(self.log_variance), dtype=torch.float64, device=device)}

    def _step(self, losses: Tensor, state: State, *, generator: torch.Generator | None) -> tuple[Tensor, State]:
        precision = (-state["s"]).exp()
        s = state["s"] - self.lr * 0.5 * (1 - precision * losses)
        return 0.5 * precision, {"s": s.clamp(-LOG_BOUND, LOG_BOUND)}
