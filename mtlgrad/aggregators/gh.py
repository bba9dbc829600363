"""Gradient Harmonization (Huang, Song and Zhang, TPAMI 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import HarmonizingAggregator
from mtlgrad.aggregators.host import on_host
from mtlgrad.method import Traits
from mtlgrad.solvers.cone import harmonized_parts
from mtlgrad.solvers.pair import harmonize_pair


@dataclass(frozen=True)
class GH(HarmonizingAggregator):
    r"""Each gradient is moved as little as possible until it hurts no task, then all are summed.

    .. math:: \tilde g_i = \arg\min_x \tfrac12 \|g_i - x\|^2 \ \text{s.t.}\ x^\top g_j \ge 0\ \forall j,
              \qquad d = \sum_i \tilde g_i

    For two tasks with c = g1 . g2 < 0 (Theorem 1, Eq. 29; as weights, Eq. 42):

    .. math:: w = \left(1 - \frac{c}{\|g_1\|^2},\ 1 - \frac{c}{\|g_2\|^2}\right), \qquad w = (1, 1)\ \text{if}\ c \ge 0

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. A zero gradient constrains nothing and has weight 1.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> GH()(J)
    tensor([0.5000, 1.5000])
    >>> GH().weights(J @ J.T)
    tensor([2.0000, 1.5000])

    Relations, each under test: for m = 2 GH equals `PCGrad` (one "other" task leaves nothing to shuffle) and twice
    UPGrad (which averages the same projections); it is never DualProj under conflict, which projects the sum once.

    Deviations: the paper treats two tasks; m tasks are its problem (7) with one constraint a task. Its Lemma 3 does
    not hold in the joint sense (30): a sum of two projections is a heuristic, not the joint optimum. The released code
    for CDAN+E, GVB, SSRT and TIRG multiplies whole losses by w, heads and discriminator included: `apply="loss"`.

    References
    ----------
    Huang, Song, Zhang, "Gradient Harmonization in Unsupervised Domain Adaptation", TPAMI 2024, Theorem 1.
    """

    traits = Traits(non_conflicting=True, sums_without_conflict=True, closed_form_pair=True)

    def _parts(self, gram: Tensor, *, generator: torch.Generator | None) -> Tensor:
        return on_host(harmonized_parts, gram, pair=harmonize_pair)
