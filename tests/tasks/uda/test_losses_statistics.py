"""Kernel MMD as a double sum, sliced Wasserstein distance by hand, and their gradients."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.uda.losses import Gaussian, kernel_mmd, sliced_wasserstein


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def between(x: list[float], y: list[float], kernel: Gaussian, bandwidth: float) -> float:
    squared = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    return sum(math.exp(-squared / (2 * width * bandwidth)) for width in kernel.widths)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), n=st.integers(2, 4), m=st.integers(2, 4), joint=st.booleans())
def test_mmd_is_a_double_sum_over_pairs(seed: int, n: int, m: int, joint: bool) -> None:
    layers = [(Gaussian(), 3)] + ([(Gaussian((1.0,), bandwidth=0.8), 2)] if joint else [])
    source = [draw(seed + k, n, width) for k, (_, width) in enumerate(layers)]
    target = [draw(seed + 9 + k, m, width) + 1 for k, (_, width) in enumerate(layers)]
    rows = [torch.cat(pair).tolist() for pair in zip(source, target, strict=True)]
    bandwidths = []
    for (kernel, _), layer in zip(layers, rows, strict=True):
        squares = [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x in layer for y in layer]
        bandwidths.append(kernel.bandwidth or sum(squares) / len(squares))

    def k(i: int, j: int) -> float:
        return math.prod(
            between(layer[i], layer[j], kernel, bandwidth)
            for (kernel, _), layer, bandwidth in zip(layers, rows, bandwidths, strict=True)
        )

    ours, theirs = range(n), range(n, n + m)
    expected = sum(k(i, j) for i, j in itertools.permutations(ours, 2)) / (n * (n - 1))
    expected += sum(k(i, j) for i, j in itertools.permutations(theirs, 2)) / (m * (m - 1))
    expected -= 2 * sum(k(i, j) for i in ours for j in theirs) / (n * m)
    found = kernel_mmd(source, target, [kernel for kernel, _ in layers])
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_mmd_is_unbiased_and_sees_a_shift() -> None:
    same = torch.stack([kernel_mmd([draw(k, 8, 2)], [draw(-k - 1, 8, 2)], [Gaussian()]) for k in range(200)])
    assert abs(same.mean()) < 3 * same.std() / 200**0.5
    assert kernel_mmd([draw(0, 8, 2)], [draw(1, 8, 2) + 3], [Gaussian()]) > 5 * same.std()


def test_the_gradient_of_mmd_is_finite_where_rows_are_equal() -> None:
    rows = torch.ones(3, 2, requires_grad=True)
    kernel_mmd([rows], [torch.ones(3, 2)], [Gaussian()]).backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


def test_one_row_is_refused() -> None:
    with pytest.raises(ValueError, match="1 and 3 rows; allowed: at least 2 each"):
        kernel_mmd([draw(0, 1, 2)], [draw(1, 3, 2)], [Gaussian()])


def test_gradients_match_finite_differences() -> None:
    # with the bandwidth given: where it is the mean distance, it is a constant to gradients and none to differences
    kernels = [Gaussian(bandwidth=1.3), Gaussian((1.0,), bandwidth=0.8)]
    x, y, p, q = (draw(k, 3, 2).requires_grad_() for k in range(4))
    assert torch.autograd.gradcheck(lambda x, y, p, q: kernel_mmd([x, p], [y, q], kernels), (x, y, p, q))
    directions = draw(5, 2, 4)
    assert torch.autograd.gradcheck(lambda a, b: sliced_wasserstein(a, b, directions), (x, y))


def test_sliced_wasserstein_is_the_cheapest_matching_along_each_direction() -> None:
    x, y, directions = draw(0, 4, 3), draw(1, 4, 3), draw(2, 3, 5)
    total = 0.0
    for along in (directions / directions.norm(dim=0)).T:
        a, b = x @ along, y @ along
        total += min(((a - b[list(order)]) ** 2).mean().item() for order in itertools.permutations(range(4)))
    assert sliced_wasserstein(x, y, directions).item() == pytest.approx(total / 5)
    assert sliced_wasserstein(x, x.flip(0), directions) == 0


def test_far_from_the_origin_distances_keep_their_digits() -> None:
    x, y = draw(0, 20, 8).float(), draw(1, 30, 8).float()
    near = kernel_mmd([x], [y], [Gaussian()])
    torch.testing.assert_close(kernel_mmd([x + 512], [y + 512], [Gaussian()]), near, rtol=1e-3, atol=0)


def test_memory_is_that_of_pairs_and_not_of_pairs_times_width() -> None:
    made = []
    rows = draw(0, 40, 1000)
    with torch.autograd.graph.saved_tensors_hooks(lambda one: (made.append(one.numel()), one)[1], lambda one: one):
        kernel_mmd([rows.requires_grad_()], [draw(1, 40, 1000)], [Gaussian()]).backward()
    assert max(made) <= 80 * 1000
