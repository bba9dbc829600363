"""Domain losses, certainty weights and CDAN's maps against sums written out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.uda.losses import (
    RandomMap,
    certainty_weights,
    domain_confusion,
    entropy,
    outer_product,
    reverse,
)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), source=st.integers(1, 5), target=st.integers(1, 5))
def test_the_domain_loss_is_a_weighted_mean_of_logarithms(seed: int, source: int, target: int) -> None:
    s, t = draw(seed, source, 1), draw(seed + 1, target, 1)
    w, v = draw(seed + 2, source).abs() + 0.1, draw(seed + 3, target).abs() + 0.1

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    called = [-math.log(sigmoid(x)) for x in s.flatten().tolist()]
    denied = [-math.log(1 - sigmoid(x)) for x in t.flatten().tolist()]
    plain = (sum(called) / source + sum(denied) / target) / 2
    assert domain_confusion(s, t).item() == pytest.approx(plain, rel=1e-9)
    weighted = 0.0
    for losses, weights in ((called, w.tolist()), (denied, v.tolist())):
        weighted += sum(a * b for a, b in zip(losses, weights, strict=True)) / sum(weights) / 2
    assert domain_confusion(s, t, source_weights=w, target_weights=v).item() == pytest.approx(weighted, rel=1e-9)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), classes=st.integers(2, 6))
def test_certainty_is_one_plus_the_exponential_of_minus_the_entropy(seed: int, classes: int) -> None:
    logits = draw(seed, 3, classes)
    for row, weight, bare, found in zip(
        logits.tolist(),
        certainty_weights(logits).tolist(),
        certainty_weights(logits, plus_one=False).tolist(),
        entropy(logits).tolist(),
        strict=True,
    ):
        total = sum(map(math.exp, row))
        p = [math.exp(x) / total for x in row]
        h = -sum(x * math.log(x) for x in p)
        assert found == pytest.approx(h, abs=1e-9)
        assert weight == pytest.approx(1 + math.exp(-h), rel=1e-9)
        assert bare == pytest.approx(weight - 1, rel=1e-9)


def test_reversal_turns_the_gradient_before_it_only() -> None:
    x, w = draw(0, 3).requires_grad_(), draw(1, 3).requires_grad_()
    (w * reverse(x, 0.7)).sum().backward()
    torch.testing.assert_close(x.grad, -0.7 * w.detach())
    torch.testing.assert_close(w.grad, x.detach())
    assert torch.equal(reverse(x), x)


def test_gradients_match_finite_differences() -> None:
    s, t, w, v = draw(0, 3), draw(1, 4), draw(2, 3).abs(), draw(3, 4).abs()
    for one in (s, t):
        one.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: domain_confusion(a, b, source_weights=w, target_weights=v), (s, t))
    logits = draw(4, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(entropy, (logits,))
    assert torch.autograd.gradcheck(certainty_weights, (logits,))
    features, probabilities = draw(5, 3, 2).requires_grad_(), draw(6, 3, 4).softmax(dim=1).requires_grad_()
    assert torch.autograd.gradcheck(outer_product, (features, probabilities))
    assert torch.autograd.gradcheck(RandomMap(2, 4, out=5).double(), (features, probabilities))


def test_the_outer_product_is_every_product() -> None:
    f, g = draw(0, 2, 3), draw(1, 2, 4)
    expected = [[(f[n, d] * g[n, k]).item() for k in range(4) for d in range(3)] for n in range(2)]
    assert torch.equal(outer_product(f, g), torch.tensor(expected, dtype=torch.float64))


def test_the_random_map_keeps_inner_products_on_average() -> None:
    # <R_f f * R_g g, R_f f' * R_g g'> / out estimates <f, f'> <g, g'>, which is the outer products' inner product
    torch.manual_seed(0)
    f, g = draw(0, 2, 3), draw(1, 2, 4)
    exact = outer_product(f, g)[0] @ outer_product(f, g)[1]
    mapped = RandomMap(3, 4, out=400_000).double()(f, g)
    own = outer_product(f, g).norm(dim=1).prod()
    assert abs(mapped[0] @ mapped[1] - exact) < 0.02 * own
