"""UPGrad, DualProj and AGEM: the projections among the Gramian methods."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from mtlgrad import AGEM, GH, DualProj, Mean, PCGrad, UPGrad
from mtlgrad.aggregators.pcgrad import orders_of_others

seeds = st.integers(0, 10**6)


def random_jacobian(seed: int, m: int, n: int = 12) -> Tensor:
    return torch.randn(m, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(seeds, st.integers(1, 8))
@settings(deadline=None, max_examples=50)
def test_upgrad_is_gh_averaged(seed: int, m: int) -> None:
    J = random_jacobian(seed, m)
    torch.testing.assert_close(m * UPGrad()(J), GH()(J))


def test_both_are_the_mean_without_conflict() -> None:
    J = random_jacobian(0, 6).abs()
    for method in (UPGrad(), DualProj()):
        torch.testing.assert_close(method(J), Mean()(J))


@given(seeds, st.integers(2, 8))
@settings(deadline=None, max_examples=50)
def test_dualproj_moves_the_mean_least(seed: int, m: int) -> None:
    J = random_jacobian(seed, m, n=m + 2)
    d = DualProj()(J)
    moved = d - J.mean(0)
    # A projection on a convex cone: the move is orthogonal to the result and lies in the cone of the gradients.
    assert bool((J @ d >= -1e-9).all())
    assert abs(float(moved @ d)) <= 1e-9
    assert bool((moved @ torch.linalg.pinv(J) >= -1e-9).all())


def test_dualproj_is_not_upgrad_under_conflict() -> None:
    J = torch.tensor([[1.0, 0.0], [-3.0, 1.0]])
    assert not torch.allclose(DualProj()(J), UPGrad()(J))


def test_a_zero_gradient_keeps_its_share_and_constrains_nothing() -> None:
    J = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 1.0]])
    for method in (UPGrad(), DualProj()):
        assert float(method.weights(J @ J.T)[1]) == pytest.approx(1 / 3)
        torch.testing.assert_close(method(J), method(J[[0, 2]]) * 2 / 3)


# ------------------------------------------------------------------------------------- PCGrad


def test_orders_are_drawn_where_the_generator_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        device = torch.device("cuda:3")

    asked = []
    draw = torch.rand

    def drawn(*size: int, generator: object, device: torch.device) -> Tensor:
        asked.append((generator, device))
        return draw(*size)

    monkeypatch.setattr(torch, "rand", drawn)
    there = Elsewhere()
    assert orders_of_others(4, there).shape == (4, 3)  # type: ignore[arg-type]
    assert orders_of_others(4, None).shape == (4, 3)
    assert asked == [(there, torch.device("cuda:3")), (None, torch.device("cpu"))]


# --------------------------------------------------------------------------------------- AGEM


@given(seeds, st.integers(1, 6), st.data())
@settings(deadline=None, max_examples=100)
def test_agem_projects_the_summed_auxiliaries_off_the_main_task(seed: int, m: int, data: st.DataObject) -> None:
    J = random_jacobian(seed, m, n=4)
    main = data.draw(st.integers(0, m - 1))
    r, a = J[main], J.sum(0) - J[main]
    if float(a @ r) < 0:
        a = a - (a @ r) / (r @ r) * r
    d = AGEM(main=main)(J)
    torch.testing.assert_close(d, r + a)
    assert float(d @ r) >= float(r @ r) * (1 - 1e-12)


def test_agem_for_two_tasks_changes_one_gradient_of_pcgrad() -> None:
    J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    parts = PCGrad().parts(J @ J.T) @ J
    torch.testing.assert_close(AGEM(main=0)(J), J[0] + parts[1])
    torch.testing.assert_close(AGEM(main=1)(J), J[1] + parts[0])


def test_agem_lets_auxiliaries_make_up_for_each_other() -> None:
    # One auxiliary is against the main task, the other more than makes up for it: nothing is taken away.
    J = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [2.0, 0.0]])
    torch.testing.assert_close(AGEM()(J), J.sum(0))


def test_agem_with_a_zero_main_gradient_is_the_sum() -> None:
    J = torch.tensor([[0.0, 0.0], [-1.0, 1.0]])
    torch.testing.assert_close(AGEM()(J), J.sum(0))


@pytest.mark.parametrize("main", [-1, 0.5, True, "0"])
def test_agem_names_a_bad_main_task(main: object) -> None:
    with pytest.raises(ValueError, match=r"main \(the index of a task\) must be"):
        AGEM(main=main)  # type: ignore[arg-type]


def test_agem_needs_its_main_task() -> None:
    with pytest.raises(ValueError, match=r"AGEM.*at least 3.*m=2"):
        AGEM(main=2)(random_jacobian(0, 2))
