"""UW-SO: soft optimal uncertainty weighting (Kirchdorfer et al., 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.hyperparameters import check_positive
from mtlgrad.method import Traits, positive
from mtlgrad.scalarizers.base import Scalarizer
from mtlgrad.spaces import LogUniform, searched


@dataclass(frozen=True)
class UWSO(Scalarizer):
    r"""Uncertainty weighting with its uncertainties solved for, and a softmax in place of their scale.

    .. math:: w_i = \frac{\exp\bigl(1 / (T L_i)\bigr)}{\sum_j \exp\bigl(1 / (T L_j)\bigr)}

    1 / L_i is, up to a factor, the weight at which Kendall's uncertainty of task i is optimal.

    Shapes: losses [m] -> w [m], on the simplex, detached.

    Parameters
    ----------
    temperature:
        T > 0, the one hyperparameter, tuned for each problem: the smaller, the more weight on the smallest loss.

    Raises
    ------
    ValueError
        On a negative loss. One that is 0 counts as 1e-12 of the largest.

    Examples
    --------
    >>> UWSO().loss_weights(torch.tensor([1.0, 0.5]))  # softmax(1, 2)
    tensor([0.2689, 0.7311])

    Deviations: none.

    References
    ----------
    Kirchdorfer, Elich, Kutsche, Stuckenschmidt, Schott, Kohler, "Analytical Uncertainty-Based Loss Weighting in
    Multi-Task Learning", arXiv 2408.07985, the definition of UW-SO.
    """

    temperature: float = 1.0

    search_space = searched(temperature=LogUniform(0.01, 100.0))

    traits = Traits(needs_losses=True, simplex=True)

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)

    def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
        inverse = (1 / positive(self, losses)).clamp(max=torch.finfo(losses.dtype).max)
        return ((inverse - inverse.max()) / self.temperature).softmax(0)
