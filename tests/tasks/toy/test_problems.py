"""The problems against the papers' formulas, finite differences and brute force."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tasks.toy.problems import CONVEX, ELEMENTWISE, PROBLEMS, SCALED, SURFACE, VLMOP2, Problem, distance_to_path
from tests.tasks.toy import surface_by_hand

every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
coordinate = st.floats(-10, 10, allow_nan=False)


def jacobian(problem: Problem, x: Tensor) -> Tensor:
    found: Tensor = torch.autograd.functional.jacobian(problem.losses, x)
    return found


def shortest(J: Tensor) -> Tensor:
    """The shortest convex combination of two gradients, by trying 10 001 weights and then polishing."""
    w = torch.linspace(0, 1, 10_001, dtype=J.dtype)
    best = w[(w[:, None] * J[0] + (1 - w[:, None]) * J[1]).norm(dim=1).argmin()]
    difference = J[0] - J[1]
    length = difference @ difference
    exact = torch.where(length > 0, -(J[1] @ difference) / length.clamp(min=1e-300), best).clamp(0, 1)
    return exact * J[0] + (1 - exact) * J[1]


@every_problem
def test_gradients_agree_with_finite_differences(problem: Problem) -> None:
    generator = torch.Generator().manual_seed(1)
    low, high = (-10, 10) if problem.n == 2 else (-0.5, 0.5)
    x = torch.empty(40, problem.n, dtype=torch.float64).uniform_(low, high, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(problem.losses, x)


@given(coordinate, coordinate)
@settings(deadline=None)
def test_surface_is_the_papers_formula(x: float, y: float) -> None:
    found = SURFACE.losses(torch.tensor([x, y], dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor(surface_by_hand.losses(x, y), dtype=torch.float64))


def test_surface_has_the_floor_of_the_logarithm() -> None:
    """At (-7, 0) and (7, 0) the argument is 0; the floor makes that log(5e-6) + 6, which c = 0 hides, not NaN."""
    bottom = torch.tensor([[-7.0, 0.0], [7.0, 0.0]], dtype=torch.float64)
    assert SURFACE.losses(bottom).abs().max() == 0
    assert jacobian(SURFACE, bottom).isfinite().all()


def test_gradients_at_the_origin_are_exactly_parallel() -> None:
    J = jacobian(SURFACE, torch.zeros(2, dtype=torch.float64))
    assert J[0, 0] == J[1, 0] == 0
    assert J[0, 1] > 0
    assert J[1, 1] > 0


@given(st.sampled_from(list(PROBLEMS.values())), st.integers(0, 60))
@settings(deadline=None)
def test_gradients_cancel_on_the_pareto_set(problem: Problem, k: int) -> None:
    J = jacobian(problem, problem.pareto_set(61)[k])
    assert shortest(J).norm() <= 1e-9 * (1 + J.norm())


@every_problem
def test_gradients_do_not_cancel_beside_it(problem: Problem) -> None:
    """Pushed off the set (in a direction that leaves it), no convex combination vanishes."""
    off = torch.zeros(problem.n, dtype=torch.float64)
    off[1] = 0.3
    # The end points of the element-wise squares' axes are stationary too, though not optimal: leave along both.
    off[0] = 0.3 if problem is ELEMENTWISE else 0.0
    for x in problem.pareto_set(11)[1:-1] + off:
        J = jacobian(problem, x)
        assert shortest(J).norm() > 0.01 * J.norm(dim=1).min()


@pytest.mark.parametrize("problem", [SURFACE, ELEMENTWISE, CONVEX, SCALED], ids=lambda p: p.name)
def test_nothing_on_a_grid_dominates_the_pareto_set(problem: Problem) -> None:
    side = torch.linspace(-12, 12, 481, dtype=torch.float64)
    grid = problem.losses(torch.cartesian_prod(side, side))
    for point in problem.front(41):
        better = (grid < point - 1e-9).all(-1)
        assert not better.any()


def test_nothing_nearby_dominates_the_pareto_set_in_twenty_dimensions() -> None:
    generator = torch.Generator().manual_seed(2)
    for x in VLMOP2.pareto_set(21):
        scale = torch.logspace(-4, 0, 2000, dtype=torch.float64)[:, None]
        others = x + scale * torch.randn(2000, VLMOP2.n, dtype=torch.float64, generator=generator)
        assert not (VLMOP2.losses(others) < VLMOP2.losses(x)).all(-1).any()


@every_problem
def test_the_ends_of_the_pareto_set_minimise_one_loss_each(problem: Problem) -> None:
    ends = problem.pareto_set(2)
    gradients = torch.stack([jacobian(problem, x).norm(dim=1) for x in ends])
    assert gradients.amin(1).max() < 1e-9
    assert gradients.amin(0).max() < 1e-9


@every_problem
def test_starts_are_off_the_set_and_of_one_dimension(problem: Problem) -> None:
    starts = torch.tensor(problem.starts, dtype=torch.float64)
    assert starts.shape == (len(problem.starts), problem.n)
    assert problem.distance(starts).min() > 0.1
    assert problem.distance(problem.pareto_set(777)).max() < 1e-4


def test_starts_of_vlmop2_lie_as_published() -> None:
    starts = torch.tensor(VLMOP2.starts, dtype=torch.float64)
    base = torch.tensor([0.3, -0.3], dtype=torch.float64).repeat(10)
    assert (starts - base).abs().max() < 0.5
    assert 0.08 < (starts - base).std() < 0.12
    assert len(set(VLMOP2.starts)) == 5


@given(st.tuples(coordinate, coordinate), st.lists(st.tuples(coordinate, coordinate), min_size=2, max_size=6))
@settings(deadline=None)
def test_distance_to_a_path_is_that_of_its_nearest_point(point: tuple[float, float], path: list) -> None:
    x, nodes = torch.tensor(point, dtype=torch.float64), torch.tensor(path, dtype=torch.float64)
    share = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None, None]
    dense = (nodes[:-1] + share * nodes.diff(dim=0)).reshape(-1, 2)
    brute = (dense - x).norm(dim=1).min()
    found = distance_to_path(x, nodes)
    assert found <= brute + 1e-12
    assert found >= brute - 30 / 2000  # half a sample's spacing on the longest segment
