"""float32 gradients get the answer of the float64 Gramian of the same numbers, dependent gradients included."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import pytest
import torch
from torch import Tensor

from mtlgrad import GH, AlignedMTL, GHPlusPlus, GramAggregator, NashMTL, SDMGrad, catalog
from mtlgrad.linalg import gram
from mtlgrad.testing import jacobians
from tests.solvers.hard import stress

METHODS = [x for entry in catalog.CATALOG.values() for x in entry.methods if isinstance(x, GramAggregator)]
LONG = 100_000


def nearly_dependent(m: int, n: int, sine: float, *, opposite: bool) -> Tensor:
    generator = torch.Generator().manual_seed(m)
    shared = torch.randn(n, dtype=torch.float64, generator=generator)
    rows = shared + sine * torch.randn(m, n, dtype=torch.float64, generator=generator)
    return (rows * (-1.0) ** torch.arange(m).double()[:, None] if opposite else rows).float()


@cache
def short() -> list[tuple[str, Tensor]]:
    named = [(f"{family}, m={m}", J.float()) for m in (2, 3, 8) for family, J in jacobians(m).items()]
    return named + [(f"stress {k}", torch.from_numpy(J).float()) for k, J in enumerate(stress(60, seed=0, m_max=8))]


@cache
def long() -> list[tuple[str, Tensor, float]]:
    """With each J the error that float64 leaves: the rounding of long sums beside the square of the smallest sine."""
    named = [(f"{family}, m={m}", J.float(), 4e-6) for m in (2, 3, 8) for family, J in jacobians(m, LONG).items()]
    for m in (2, 3, 8):
        for sine in (1e-3, 1e-4, 1e-5):
            for opposite in (False, True):
                J = nearly_dependent(m, LONG, sine, opposite=opposite)
                named.append((f"sine {sine:g}, opposite={opposite}, m={m}", J, 1e-6 + 3e-14 / sine**2))
    return named


def defined(method: GramAggregator, J: Tensor) -> bool:
    low, high = method.traits.min_tasks, method.traits.max_tasks
    return low <= len(J) and (high is None or len(J) <= high)


def weights(method: GramAggregator, G: Tensor) -> Tensor:
    losses = torch.linspace(0.5, 2.0, len(G)).double()
    return method.weights(G, losses=losses, generator=torch.Generator().manual_seed(0))


def compared(method: GramAggregator, J: Tensor) -> tuple[float, bool]:
    """The distance of the two directions, relative to the lengths combined, and whether both or none fell back."""
    wide = J.double()
    got, wanted = weights(method, gram(J)), weights(method, wide @ wide.T)
    size = float(torch.maximum(got.abs(), wanted.abs()) @ wide.norm(dim=1))
    same = bool(method.fell_back(gram(J)) == method.fell_back(wide @ wide.T))
    return float(((got - wanted) @ wide).norm()) / (size or 1.0), same


def cases(method: GramAggregator) -> Iterator[tuple[str, Tensor, float]]:
    yield from ((name, J, 1e-12) for name, J in short() if defined(method, J) and gram(J).isfinite().all())
    if not isinstance(method, SDMGrad):  # its steps jump between corners of the simplex
        yield from (case for case in long() if defined(method, case[1]))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_the_answer_is_that_of_the_float64_gramian(method: GramAggregator) -> None:
    for name, J, slack in cases(method):
        error, same = compared(method, J)
        assert error <= slack, name
        assert same, f"{name}: one of the two fell back"


L = torch.linspace(-1.0, 2.0, 1000)


def test_aligned_gradients_of_proportional_losses() -> None:
    J = torch.stack([L, 0.3 * L, 2.5 * L])
    wanted = AlignedMTL()(J.double())
    assert wanted.norm() > 4
    torch.testing.assert_close(AlignedMTL()(J).double(), wanted, rtol=1e-5, atol=1e-5)


def test_more_tasks_than_parameters() -> None:
    J = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(AlignedMTL()(J).double(), AlignedMTL()(J.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [1000, LONG])
@pytest.mark.parametrize("method", [NashMTL(), GHPlusPlus(form="rotation")], ids=lambda m: m.name)
def test_opposite_losses_are_seen_to_be_opposite(method: GramAggregator, n: int) -> None:
    g = torch.randn(n, generator=torch.Generator().manual_seed(0))
    J = torch.stack([g, -0.3 * g])
    assert bool(method.fell_back(gram(J)))
    assert method(J).norm() <= 1e-6 * g.norm()


def test_nearly_opposite_long_gradients_are_no_opposites() -> None:
    J = nearly_dependent(2, LONG, 1e-4, opposite=True)
    direction, wanted = GH()(J).double(), GH()(J.double())
    sine = math.sqrt(2) * 1e-4
    assert wanted.norm() > 0.5 * sine * J.double().norm(dim=1).sum()
    assert (direction - wanted).norm() <= 1e-2 * wanted.norm()  # w J is summed in float32, and cancels to 1e-4
