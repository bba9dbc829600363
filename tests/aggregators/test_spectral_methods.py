"""IMTL-G, Aligned-MTL and ConFIG: what each claims about J, checked on J itself."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from mtlgrad import IMTLG, AlignedMTL, ConFIG
from mtlgrad.testing import jacobians

cases = st.tuples(st.integers(0, 10**6), st.integers(2, 10), st.floats(0, 3))


def imbalanced(case: tuple[int, int, float]) -> Tensor:
    """Independent rows whose norms spread as lognormal(spread)."""
    seed, m, spread = case
    generator = torch.Generator().manual_seed(seed)
    J = torch.randn(m, 3 * m, dtype=torch.float64, generator=generator)
    return J * (spread * torch.randn(m, 1, dtype=torch.float64, generator=generator)).exp()


def units(J: Tensor) -> Tensor:
    return J / J.norm(dim=1, keepdim=True)


# -------------------------------------------------------------------------------------- IMTL-G


@given(cases)
@settings(deadline=None, max_examples=60)
def test_imtlg_projects_equally_with_weights_that_sum_to_one(case: tuple[int, int, float]) -> None:
    J = imbalanced(case)
    w = IMTLG().weights(J @ J.T)
    assert abs(float(w.sum()) - 1) <= 1e-9 * float(w.abs().sum())
    projections = units(J) @ (w @ J)
    assert float(projections.max() - projections.min()) <= 1e-9 * float(w.abs() @ J.norm(dim=1))


def test_imtlg_is_the_papers_closed_form() -> None:
    # (w_2..w_m) = g_1 U^T (D U^T)^-1 with rows of D g_1 - g_j and of U u_1 - u_j.
    J = jacobians(4)["plain"]
    D, U = J[0] - J[1:], units(J)[0] - units(J)[1:]
    rest = J[0] @ U.T @ torch.linalg.inv(D @ U.T)
    torch.testing.assert_close(IMTLG().weights(J @ J.T), torch.cat([1 - rest.sum(0, keepdim=True), rest]))


def test_imtlg_with_parallel_gradients_is_finite_and_equal() -> None:
    J = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)  # singular in the paper's form
    d = IMTLG()(J)
    torch.testing.assert_close(units(J) @ d, torch.full((3,), float(d[0]), dtype=torch.float64))
    assert not bool(IMTLG().fell_back(J @ J.T))


def test_imtlg_may_conflict_with_every_task() -> None:
    found = False
    for seed in range(200):
        J = imbalanced((seed, 3, 1.0))[:, :3]
        found = found or bool((J @ IMTLG()(J) < 0).all())
    assert found


def test_imtlg_of_opposite_and_of_no_gradients() -> None:
    # Opposite gradients: only d = 0 projects equally, and w = (1, 1) / 2 gives it. No gradients: no solution.
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(IMTLG().weights(opposite @ opposite.T), torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert not bool(IMTLG().fell_back(opposite @ opposite.T))
    nothing = torch.zeros(3, 3, dtype=torch.float64)
    assert torch.equal(IMTLG().weights(nothing), torch.zeros(3, dtype=torch.float64))
    assert bool(IMTLG().fell_back(nothing))


def test_imtlg_stops_where_the_weights_cancel() -> None:
    # Norms chosen so that Ghat^-1 1 / |g| sums to 0: the common projection would be infinite.
    cosines = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.3], [0.0, 0.3, 1.0]], dtype=torch.float64)
    solution = torch.linalg.solve(cosines, torch.ones(3, dtype=torch.float64))
    assert float(solution.min()) < 0 < float(solution.max())
    norms = torch.where(solution < 0, -solution / solution.clamp(min=0).sum(), 1.0)
    G = cosines * norms * norms[:, None]
    assert torch.equal(IMTLG().weights(G), torch.zeros(3, dtype=torch.float64))
    assert bool(IMTLG().fell_back(G))


# --------------------------------------------------------------------------------- Aligned-MTL


@given(cases, st.sampled_from(["min", "median", "rmse"]))
@settings(deadline=None, max_examples=60)
def test_aligned_is_the_preferred_sum_of_equalised_singular_values(case: tuple[int, int, float], scale: str) -> None:
    J = imbalanced((case[0], case[1], min(case[2], 1.5)))
    left, singular, right = torch.linalg.svd(J, full_matrices=False)
    squares = singular.square().flip(0)
    sigma = {"min": squares[0], "median": squares[(len(squares) - 1) // 2], "rmse": squares.mean()}[scale].sqrt()
    wanted = sigma * (left @ right).sum(0)
    got = AlignedMTL(scale=scale)(J)  # type: ignore[arg-type]
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6 * float(wanted.norm()))


def test_aligned_keeps_a_short_gradient() -> None:
    # The common tolerance, relative to the longest gradient, would drop the second.
    J = torch.tensor([[1e9, 0.0], [0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(AlignedMTL()(J), torch.tensor([1.0, 1.0], dtype=torch.float64))


def test_aligned_weighs_tasks_by_preference() -> None:
    J = jacobians(3)["plain"]
    one = [AlignedMTL(preference=tuple(float(k == i) for k in range(3)))(J) for i in range(3)]
    torch.testing.assert_close(AlignedMTL()(J), sum(one))
    norms = torch.stack([d.norm() for d in one])
    torch.testing.assert_close(norms, norms[0].expand(3))  # equally long
    assert abs(float(one[0] @ one[1])) <= 1e-9 * float(norms[0]) ** 2  # and orthogonal
    assert AlignedMTL(preference=[1, 2]) == AlignedMTL(preference=(1, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scale": "max"}, "'min', 'median', 'rmse'.*'max'"),
        ({"preference": (1.0, float("nan"))}, r"preference\[1\].*nan"),
        ({"preference": ()}, "preference must"),
        ({"preference": 1.0}, "preference must"),
    ],
)
def test_aligned_names_bad_hyperparameters(arguments: dict[str, object], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        AlignedMTL(**arguments)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------- ConFIG


@given(cases)
@settings(deadline=None, max_examples=60)
def test_config_makes_equal_angles_with_the_summed_length(case: tuple[int, int, float]) -> None:
    J = imbalanced(case)
    d = ConFIG()(J)
    cosines = units(J) @ d / d.norm()
    assert float(cosines.min()) > 0
    assert float(cosines.max() - cosines.min()) <= 1e-9
    assert float(d.norm()) == pytest.approx(float((J @ d).sum() / d.norm()), rel=1e-9)
    assert not bool(ConFIG().fell_back(J @ J.T))


def test_config_is_the_pseudo_inverse_of_the_paper() -> None:
    for family in ("plain", "imbalanced"):
        J = jacobians(5)[family]
        unit = torch.linalg.pinv(units(J)) @ torch.ones(5, dtype=torch.float64)
        unit = unit / unit.norm()
        torch.testing.assert_close(ConFIG()(J), (J @ unit).sum() * unit, rtol=1e-9, atol=0)


def test_config_heeds_no_columns_of_zeros() -> None:
    # A common least-squares driver answers 0 when columns of J are zero, as blank input pixels make them.
    J = jacobians(4)["plain"]
    padded = torch.cat([J, torch.zeros(4, 1000, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(ConFIG()(padded)[:24], ConFIG()(J))


def test_config_with_a_zero_gradient_is_config_of_the_others() -> None:
    J = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
    torch.testing.assert_close(ConFIG()(J), ConFIG()(J[[0, 2]]))
    torch.testing.assert_close(ConFIG()(J[:2]), J[0])


def test_config_reports_where_no_common_angle_exists() -> None:
    # Three directions in a plane: a common angle would need a third dimension.
    J = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
    assert bool(ConFIG().fell_back(J @ J.T))
    opposite = torch.tensor([[1.0, 0.0], [-2.0, 0.0]], dtype=torch.float64)
    assert torch.equal(ConFIG()(opposite), torch.zeros(2, dtype=torch.float64))
    assert bool(ConFIG().fell_back(opposite @ opposite.T))
    duplicate = jacobians(4)["duplicate rows"]  # dependent, yet a common angle exists
    assert not bool(ConFIG().fell_back(duplicate @ duplicate.T))
