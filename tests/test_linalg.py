"""G and d against float64, where float32 and half precision would lose them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlgrad import linalg
from mtlgrad.gradients import TaskGradients
from mtlgrad.linalg import combine, gram


def rows(m: int = 3, n: int = 1000, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(m, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_gram_is_accurate_for_the_rows_as_given(dtype: torch.dtype) -> None:
    J = rows(dtype=dtype)
    assert gram(J).dtype == torch.float64
    exact = J.double() @ J.double().T
    torch.testing.assert_close(gram(J), exact, rtol=0, atol=1e-6 * float(exact.max()))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    means=st.lists(st.floats(-4, 4), min_size=2, max_size=4),
    spread=st.sampled_from([0.0, 1e-3, 0.03, 0.3, 1.0]),
    folded=st.booleans(),
    n=st.sampled_from([33_000, 50_001]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_gram_of_long_rows_is_as_right_as_it_says(
    means: list[float], spread: float, folded: bool, n: int, dtype: torch.dtype
) -> None:
    """Entries of one sign and size are rounded the same way in every sum: the worst that blocks of float32 meet."""
    noise = rows(len(means), n)
    J = (torch.tensor(means)[:, None] + spread * (noise.abs() if folded else noise)).to(dtype)
    wide = J.double()
    exact, norms = wide @ wide.T, wide.norm(dim=1)
    error = (gram(J) - exact).abs() / (norms[:, None] * norms).clamp(min=torch.finfo(torch.float64).tiny)
    assert float(error.max()) < 2e-5


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e30])
def test_gram_survives_squares_outside_float32(scale: float) -> None:
    J = rows() * scale
    exact = J.double() @ J.double().T
    torch.testing.assert_close(gram(J), exact, rtol=1e-6, atol=0)


def test_gram_of_rows_far_apart() -> None:
    J = rows() * torch.tensor([[1e-25], [1.0], [1e15]])
    torch.testing.assert_close(gram(J), J.double() @ J.double().T, rtol=1e-6, atol=0)


def test_gram_of_half_precision_rows_does_not_overflow() -> None:
    J = torch.full((2, 100_000), 300.0, dtype=torch.float16)
    assert gram(J)[0, 0].item() == pytest.approx(9e4 * 1e5, rel=1e-5)


def test_gram_of_long_float32_rows_does_not_drift() -> None:
    J = torch.full((2, 3_000_001), 1.1)
    exact = 1.1000000238418579**2 * 3_000_001
    assert gram(J)[0, 1].item() == pytest.approx(exact, rel=1e-5)
    assert abs((J @ J.T)[0, 1].item() / exact - 1) > 1e-4, "a single float32 product does: that is why"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n", [1000, 100_000])
def test_gram_of_dependent_rows_is_singular_to_float64_rounding(dtype: torch.dtype, n: int) -> None:
    first, second = rows(2, n, dtype)
    J = torch.stack([first, second, -2 * first, torch.zeros_like(first), 0.5 * second])
    exact = J.double() @ J.double().T
    torch.testing.assert_close(gram(J), exact, rtol=0, atol=1e-13 * float(exact.max()))


def test_gram_of_independent_long_rows_is_one_pass_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    by_blocks = linalg._by_blocks
    monkeypatch.setattr(linalg, "_by_blocks", lambda J, dtype: passes.append(dtype) or by_blocks(J, dtype))
    J = rows(n=100_000)
    J[1] = 0  # a zero row is no dependence
    linalg.gram(J)
    assert passes == [torch.float32]
    linalg.gram(torch.zeros_like(J))
    assert passes == [torch.float32] * 2


def test_gram_of_long_rows_in_blocks() -> None:
    J = torch.ones(2, (1 << 22) + 7, dtype=torch.bfloat16)
    assert gram(J)[0, 1].item() == (1 << 22) + 7
    assert combine(torch.tensor([1.0, 2.0]), J).shape == ((1 << 22) + 7,)


def test_zero_rows_cost_nothing_and_stay_zero() -> None:
    J = rows()
    J[1] = 0
    assert gram(J)[1].abs().max() == 0


def test_non_finite_rows_show() -> None:
    for bad in (math.inf, math.nan):
        J = rows()
        J[0, 3] = bad
        assert not gram(J).isfinite().all()
        assert gram(J)[1:, 1:].isfinite().all()


def test_combine_accumulates_wide() -> None:
    J = torch.tensor([[256.0], [1.0], [-256.0]], dtype=torch.bfloat16)  # 256 + 1 is 256 in bfloat16
    assert combine(torch.ones(3), J).item() == 1


def test_task_gradients_are_one_buffer_reused() -> None:
    parameters = [torch.zeros(2, 3), torch.zeros(4)]
    J = TaskGradients(parameters, m=2)
    where = J.matrix.data_ptr()
    for _ in range(2):
        J.zero()
        J.add(0, [torch.ones(2, 3), None])
        J.add(1, [None, 2 * torch.ones(4)])
        torch.testing.assert_close(J.gram(), torch.tensor([[6.0, 0.0], [0.0, 16.0]], dtype=torch.float64))
    assert J.matrix.data_ptr() == where
    first, second = J.split(J.combine(torch.tensor([3.0, 0.5])))
    torch.testing.assert_close(first, 3 * torch.ones(2, 3))
    torch.testing.assert_close(second, torch.ones(4))


def test_a_parameter_no_task_touched_has_no_piece() -> None:
    J = TaskGradients([torch.zeros(2), torch.zeros(3)], m=1)
    J.add(0, [torch.ones(2), None])
    assert list(J.split(J.combine(torch.ones(1))))[1] is None
