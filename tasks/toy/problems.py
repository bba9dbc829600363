"""Two-loss problems whose Pareto sets are known in closed form: differentiable losses, starts, published settings."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.optimize import brentq
from torch import Tensor

Point = tuple[float, ...]
Matrix = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Settings:
    """How a problem is descended on where it was published."""

    optimizer: Literal["adam", "sgd"]
    lr: float
    steps: int


@dataclass(frozen=True)
class Problem(ABC):
    """Two losses on R^n, minimised together.

    A point is Pareto optimal when no other point is at least as good in both losses and better in one. There a
    convex combination of the two gradients vanishes.
    """

    name: str
    source: str
    """Who used it, so that a reader can look up the settings."""
    starts: tuple[Point, ...]
    settings: Settings

    @property
    def n(self) -> int:
        """The dimension."""
        return len(self.starts[0])

    @abstractmethod
    def losses(self, x: Tensor) -> Tensor:
        """Both losses [..., 2] at the points x [..., n], differentiable."""

    @abstractmethod
    def pareto_set(self, k: int) -> Tensor:
        """k >= 2 points [k, n] float64 along the Pareto set, its two ends included."""

    def front(self, k: int) -> Tensor:
        """The losses [k, 2] float64 along the Pareto set."""
        return self.losses(self.pareto_set(k))

    def distance(self, x: Tensor) -> Tensor:
        """Euclidean distance [...] of the points x [..., n] to the Pareto set."""
        return distance_to_path(x, self.pareto_set(_FINE))


_FINE = 2001  # Points that stand for a Pareto set: chords of the curves here stay within 1e-5 of them.


@dataclass(frozen=True)
class Surface(Problem):
    r"""The two-task surface of CAGrad (Liu et al., NeurIPS 2021, Sec. 5.1 and App. B).

    .. math::
        f_i = s_i (l_i c_1 + q_i c_2), \quad
        l_i = \log\max(|.5(a_i - x) \pm \tanh y|, 5 \cdot 10^{-6}) + 6, \quad
        q_i = ((x + a_i)^2 + .1 (y + 8)^2) / 10 - 20

    with a = (-7, 7), c_1 = max(tanh(y/2), 0), c_2 = max(-tanh(y/2), 0). This is the papers' formula with
    tanh(-y) = -tanh(y) put in. The scale s = (0.1, 1) makes the first loss the small one, as in the later papers.

    Above y = 0 two steep valleys; below it, where c_1 = 0, two bowls around x = 7 and x = -7 and the Pareto set. A
    combination with weight w on f_1/s_1 and 1 - w on f_2/s_2 is stationary in x at x = 14 w - 7, and in y where

    .. math:: c_2'(y) \left[\frac{49 - x^2 + .1 (y + 8)^2}{10} - 20\right] + .02 (y + 8) c_2(y) = 0.

    >>> SURFACE.losses(torch.tensor([7.0, -8.0]))
    tensor([-1.9987, -0.3997])
    """

    scale: tuple[float, float] = (0.1, 1.0)

    def losses(self, x: Tensor) -> Tensor:
        across, up = x[..., 0, None], x[..., 1, None]
        shift, sign = x.new_tensor(((-7.0, 7.0), (1.0, -1.0)))
        valleys = (0.5 * (shift - across) + sign * up.tanh()).abs().clamp(min=5e-6).log() + 6
        bowls = ((across + shift).square() + 0.1 * (up + 8).square()) / 10 - 20
        # max(t, 0) as (|t| + t) / 2, whose gradient at 0 is half of either side's, as `torch.max` has it in the papers'
        # code: (0, 0) is a start, and with a gradient of 0 there nothing would move.
        half = 0.5 * (0.5 * up).tanh()
        pair: Tensor = x.new_tensor(self.scale) * (valleys * (half.abs() + half) + bowls * (half.abs() - half))
        return pair

    def pareto_set(self, k: int) -> Tensor:
        across = torch.linspace(-7, 7, k, dtype=torch.float64)
        return torch.stack([across, torch.tensor([_bowl_floor(x) for x in across.tolist()], dtype=torch.float64)], 1)


def _bowl_floor(x: float) -> float:
    """The y of the Pareto set above x: the root of the equation in `Surface`."""

    def slope(y: float) -> float:
        c, rate = -math.tanh(y / 2), -0.5 / math.cosh(y / 2) ** 2
        return rate * ((49 - x * x + 0.1 * (y + 8) ** 2) / 10 - 20) + 0.02 * (y + 8) * c

    # In between the slope changes sign once: at -8 the left term alone is there and positive, far below it is gone.
    return float(brentq(slope, -12, -8, xtol=1e-13))


@dataclass(frozen=True)
class Quadratics(Problem):
    r"""Two quadratics, f_i = (x - u_i)^T A_i (x - u_i), in the plane (Quinton and Rey, 2024, TorchJD's trajectories).

    .. math:: x(w) = (w A_1 + (1 - w) A_2)^{-1} (w A_1 u_1 + (1 - w) A_2 u_2), \quad w \in [0, 1].

    >>> ELEMENTWISE.losses(torch.tensor([3.0, -2.0]))
    tensor([9., 4.])
    """

    matrices: tuple[Matrix, Matrix]
    minima: tuple[Point, Point]

    def losses(self, x: Tensor) -> Tensor:
        offset = x[..., None, :] - x.new_tensor(self.minima)
        return torch.einsum("...ij,ijk,...ik->...i", offset, x.new_tensor(self.matrices), offset)

    def pareto_set(self, k: int) -> Tensor:
        first, second = torch.tensor(self.matrices, dtype=torch.float64)
        u, v = torch.tensor(self.minima, dtype=torch.float64)
        w = torch.linspace(0, 1, k, dtype=torch.float64)[:, None, None]
        # The pseudo-inverse: with one of the element-wise squares alone the matrix is singular, and 0 its optimum.
        inverse = torch.linalg.pinv(w * first + (1 - w) * second, hermitian=True)
        optimum: Tensor = inverse @ (w * (first @ u)[:, None] + (1 - w) * (second @ v)[:, None])
        return optimum.squeeze(-1)


@dataclass(frozen=True)
class Fonseca(Problem):
    r"""Fonseca and Fleming's problem, VLMOP2 of Van Veldhuizen's suite: a concave front.

    .. math:: f_{1,2} = 1 - \exp\Big(-\sum_j (x_j \mp 1/\sqrt n)^2\Big)

    Pareto set: x_1 = ... = x_n = t with t from -1/sqrt(n) to 1/sqrt(n).

    >>> corner = torch.full((20,), 20**-0.5)
    >>> [round(f, 4) for f in VLMOP2.losses(corner).tolist()]
    [0.0, 0.9817]
    """

    def losses(self, x: Tensor) -> Tensor:
        minima = x.new_tensor([[self.n**-0.5], [-(self.n**-0.5)]])
        squares: Tensor = (x[..., None, :] - minima).square().sum(-1)
        away: Tensor = 1 - (-squares).exp()
        return away

    def pareto_set(self, k: int) -> Tensor:
        reach = self.n**-0.5
        return torch.linspace(-reach, reach, k, dtype=torch.float64)[:, None].expand(-1, self.n)


def distance_to_path(x: Tensor, path: Tensor) -> Tensor:
    """Euclidean distance [...] of the points x [..., n] to the polyline through `path` [k, n], k >= 2.

    >>> distance_to_path(torch.tensor([0.5, 2.0]), torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    tensor(2.)
    """
    path = path.to(x)
    start, along = path[:-1], path.diff(dim=0)
    length = along.square().sum(-1)
    offset = x[..., None, :] - start
    # A segment of length 0 is its own start.
    share = ((offset * along).sum(-1) / torch.where(length > 0, length, 1)).clamp(0, 1)
    nearest: Tensor = torch.linalg.vector_norm(offset - share[..., None] * along, dim=-1).amin(-1)
    return nearest


def _zigzag(n: int, count: int) -> tuple[Point, ...]:
    """Starts +-0.3 in turn plus 0.1 N(0, 1), as in Mahapatra and Rajan (ICML 2020); the same in every run."""
    generator = torch.Generator().manual_seed(0)
    base = torch.tensor([0.3, -0.3], dtype=torch.float64).repeat(n // 2)
    noise = torch.randn(count, n, dtype=torch.float64, generator=generator)
    return tuple(tuple(point) for point in (base + 0.1 * noise).tolist())


SURFACE = Surface(
    name="surface",
    source="Liu et al. 2021 (CAGrad); scale and five starts: Navon et al. 2022 (Nash-MTL)",
    starts=((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0)),
    settings=Settings("adam", lr=1e-3, steps=50_000),
)
ELEMENTWISE = Quadratics(
    name="elementwise",
    source="TorchJD's trajectories, EWQ",
    starts=((3.0, -2.0), (0.0, -3.0), (-4.0, 4.0), (-3.0, 4.0), (-3.5, -0.75)),
    settings=Settings("sgd", lr=0.075, steps=50),
    matrices=(((1.0, 0.0), (0.0, 0.0)), ((0.0, 0.0), (0.0, 1.0))),
    minima=((0.0, 0.0), (0.0, 0.0)),
)
CONVEX = Quadratics(
    name="convex",
    source="TorchJD's trajectories, CQF",
    starts=((0.5, 0.5), (-0.3, 7.0), (0.0, 0.0)),
    settings=Settings("sgd", lr=0.125, steps=200),
    matrices=(((1.0, 0.2), (0.2, 0.05)), ((3.0, -0.6), (-0.6, 0.2))),
    minima=((1.0, 0.0), (-1.0, 0.0)),
)
SCALED = Quadratics(
    name="scaled",
    source="TorchJD's trajectories, HQF",
    starts=((-6.0, 4.0), (-3.0, -1.5), (1.5, 2.0), (2.5, 5.5)),
    settings=Settings("sgd", lr=0.005, steps=100),
    matrices=(((2.0, -1.0), (-1.0, 2.0)), ((20.0, -10.0), (-10.0, 20.0))),
    minima=((1.0, 0.0), (-10.0, 0.0)),
)
VLMOP2 = Fonseca(
    name="vlmop2",
    source="Fonseca and Fleming 1995; starts: Mahapatra and Rajan 2020; optimizer settings: ours",
    starts=_zigzag(n=20, count=5),
    settings=Settings("sgd", lr=0.1, steps=500),
)

PROBLEMS: dict[str, Problem] = {p.name: p for p in (SURFACE, ELEMENTWISE, CONVEX, SCALED, VLMOP2)}
