"""GH++, as published and as described (Huang, Song and Zhang, TPAMI 2024, Sec. 3.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mtlgrad.aggregators.base import HarmonizingAggregator
from mtlgrad.hyperparameters import check_choice, check_number
from mtlgrad.method import Traits
from mtlgrad.solvers.pair import harmonize_pair
from mtlgrad.spaces import Uniform, searched

MIN_SINE = 1e-5
"""Below this sine two gradients count as opposite. From G in float64 the sine is known to about 1e-16 / sine."""


@dataclass(frozen=True)
class GHPlusPlus(HarmonizingAggregator):
    r"""Under conflict, two gradients at angle theta > 90 degrees are rescaled (published) or turned to 90 (rotation).

    With a = |g1|, b = |g2|, delta = theta - pi/2, beta = lam delta, beta' = (1 - lam) delta:

    .. math:: \text{published (Eq. 43):}\quad \tilde g_1 = (1 + 2\sin\tfrac{\beta}{2})\, g_1, \quad
              \tilde g_2 = (1 - 2\sin\tfrac{\beta'}{2})\, g_2

    .. math:: \text{rotation:}\quad \tilde g_1 = a\,\frac{\cos\beta'\, u_1 + \sin\beta\, u_2}{\sin\theta}, \quad
              \tilde g_2 = b\,\frac{\cos\beta\, u_2 + \sin\beta'\, u_1}{\sin\theta}

    and d = g~1 + g~2. The published form only rescales: the angle stays theta, task 1 is boosted and task 2 shrunk,
    and d . g2 is lower than with no treatment at all (ascent on task 2 when (1 - lam) delta > 60 degrees). The
    rotation does what Sec. 3.5 says: |g~1| = a, |g~2| = b, g~1 orthogonal to g~2, the turn split lam : 1 - lam.

    Shapes: J [2, n] -> d [n]; G [2, 2] -> w [2]. Two tasks only; their order matters to the published form. A zero
    gradient conflicts with nothing.

    Parameters
    ----------
    lam:
        Share of the turn that task 1 takes, in [0, 1]. "safe" (rotation only) is (2 / pi) atan2(a, b), with which d
        never conflicts with either task; a fixed lam leaves 20 to 40 % of conflicting pairs in conflict.
    form:
        "published" (default; what the paper's tables were made with) or "rotation".

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-0.5, 3**0.5 / 2]])  # 120 degrees apart
    >>> GHPlusPlus().weights(J @ J.T)
    tensor([1.2611, 0.7389])
    >>> GHPlusPlus(form="rotation").parts(J @ J.T) @ J  # orthogonal, of norm 1 each
    tensor([[ 0.9659,  0.2588],
            [-0.2588,  0.9659]])

    Deviations: at sin(theta) < 1e-5 the plane of g1 and g2 is lost and no rotation exists in it; the rotation then
    falls back on `GH`, which tends to 0 there, and `fell_back` says so. lam="safe" is our addition. Printed Eq. 34
    takes a chord as parallel to the gradient, which is why the published form does not turn anything.

    References
    ----------
    Huang, Song, Zhang, "Gradient Harmonization in Unsupervised Domain Adaptation", TPAMI 2024, Eq. 33-43.
    """

    lam: float | Literal["safe"] = 0.5
    form: Literal["published", "rotation"] = "published"

    search_space = searched(lam=Uniform(0.0, 1.0))

    def __post_init__(self) -> None:
        check_choice("form", self.form, ("published", "rotation"))
        if isinstance(self.lam, str):
            if self.lam != "safe":
                raise ValueError(f"lam must be a number in [0, 1] or 'safe', got {self.lam!r}")
            if self.form != "rotation":
                raise ValueError("lam='safe' is defined for form='rotation' only")
        else:
            check_number("lam", self.lam, low=0, high=1)

    @property
    def traits(self) -> Traits:
        return Traits(
            non_conflicting=self.lam == "safe",
            permutation_equivariant=self.form == "rotation" and self.lam in (0.5, "safe"),
            sums_without_conflict=True,
            closed_form_pair=True,
            min_tasks=2,
            max_tasks=2,
        )

    def _parts(self, gram: Tensor, *, generator: torch.Generator | None) -> Tensor:
        a, b, cos, sin = _angle(gram)
        delta = torch.atan2(-cos, sin).clamp(min=0)  # theta - pi/2, and 0 without conflict
        lam = torch.atan2(a, b) * (2 / math.pi) if isinstance(self.lam, str) else self.lam
        beta, rest = lam * delta, (1 - lam) * delta
        zero = torch.zeros_like(delta)
        if self.form == "published":
            return torch.stack([1 + 2 * (beta / 2).sin(), zero, zero, 1 - 2 * (rest / 2).sin()]).view(2, 2)
        a_by_b, b_by_a = _ratio(a, b), _ratio(b, a)
        turned = torch.stack([rest.cos(), a_by_b * beta.sin(), b_by_a * rest.sin(), beta.cos()]).view(2, 2)
        turned = turned / torch.where(sin > 0, sin, 1)
        eye = torch.eye(2, dtype=gram.dtype, device=gram.device)
        return torch.where(cos < 0, torch.where(sin < MIN_SINE, harmonize_pair(gram), turned), eye)

    def _fell_back(self, gram: Tensor) -> Tensor:
        _, _, cos, sin = _angle(gram)
        return (cos < 0) & (sin < MIN_SINE) & (self.form == "rotation")


def _angle(gram: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """|g1|, |g2|, cos(theta), sin(theta); a zero gradient is orthogonal to everything."""
    a, b = gram.diagonal().clamp(min=0).sqrt().unbind()
    scale = a * b
    cos = torch.where(scale > 0, gram[0, 1] / torch.where(scale > 0, scale, 1), 0).clamp(-1, 1)
    return a, b, cos, ((1 - cos) * (1 + cos)).sqrt()


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / torch.where(below > 0, below, 1), 0)
