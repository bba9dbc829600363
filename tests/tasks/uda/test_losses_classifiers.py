"""The losses against their formulas, spelled out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.uda.losses import classification, discrepancy, ensemble


def logits(seed: int, count: int, classes: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [3 * torch.randn(count, classes, generator=generator, dtype=torch.float64) for _ in range(2)]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 5), classes=st.integers(2, 6))
def test_losses_equal_their_formulas(seed: int, count: int, classes: int) -> None:
    pair = logits(seed, count, classes)
    labels = torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))
    p = [[[math.exp(v) / sum(map(math.exp, row)) for v in row] for row in one.tolist()] for one in pair]
    entropy = -sum(math.log(one[row][labels[row]]) for one in p for row in range(count)) / count
    apart = sum(abs(p[0][r][k] - p[1][r][k]) for r in range(count) for k in range(classes)) / (count * classes)
    assert classification(pair, labels).item() == pytest.approx(entropy, rel=1e-12)
    assert discrepancy(pair).item() == pytest.approx(apart, rel=1e-12)
    assert 0 <= discrepancy(pair) <= 2 / classes
    assert discrepancy(pair) == discrepancy(pair[::-1])
    torch.testing.assert_close(
        ensemble(pair), (torch.tensor(p[0]) + torch.tensor(p[1])).double() / 2, atol=1e-6, rtol=0
    )


def test_gradients_match_finite_differences() -> None:
    first, second = (one.requires_grad_() for one in logits(0, 3, 4))
    labels = torch.tensor([0, 3, 1])
    assert torch.autograd.gradcheck(lambda a, b: discrepancy([a, b]), (first, second))
    assert torch.autograd.gradcheck(lambda a, b: classification([a, b], labels), (first, second))


def test_discrepancy_wants_two_classifiers() -> None:
    with pytest.raises(ValueError, match="logits holds 3 tensors; allowed: 2"):
        discrepancy(logits(0, 1, 2) + logits(1, 1, 2)[:1])
