"""Singular values, norms, margins and information against expressions written out."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.uda.losses import (
    centroids,
    disagreement,
    information,
    margin_disparity,
    nearest,
    nuclear_norm,
    spectral_penalty,
    stepwise_norms,
)

SEEDS = st.integers(0, 2**31)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, n=st.integers(1, 5), d=st.integers(1, 5))
def test_singular_values_are_roots_of_the_gramians_eigenvalues(seed: int, n: int, d: int) -> None:
    rows = draw(seed, n, d)
    eigenvalues = np.linalg.eigvalsh((rows @ rows.T).numpy())[::-1].clip(min=0)
    for largest in (1, 2):
        assert spectral_penalty(rows, largest=largest).item() == pytest.approx(eigenvalues[:largest].sum(), rel=1e-9)
    assert nuclear_norm(rows).item() == pytest.approx(np.sqrt(eigenvalues).sum() / n, rel=1e-6)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, classes=st.integers(2, 5), margin=st.floats(0.5, 6))
def test_the_margin_disparity_is_its_two_logarithms(seed: int, classes: int, margin: float) -> None:
    source, target = draw(seed, 3, classes), draw(seed + 1, 2, classes)
    h, g = torch.arange(3) % classes, torch.arange(2) % classes
    p, q = source.softmax(dim=1), target.softmax(dim=1)
    agree = -sum(math.log(p[k, h[k]]) for k in range(3)) / 3
    differ = -sum(math.log(1 - q[k, g[k]]) for k in range(2)) / 2
    found = margin_disparity(source, h, target, g, margin=margin)
    assert found.item() == pytest.approx(margin * agree + differ, rel=1e-9)


def test_disagreement_is_finite_where_the_label_is_certain() -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    loss = disagreement(logits, torch.tensor([0]))
    assert loss.item() == pytest.approx(200 - math.log(2), rel=1e-6)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_rows_grow_by_the_step() -> None:
    rows = draw(0, 3, 4).requires_grad_()
    loss = stepwise_norms(rows, step=0.7)
    assert loss.item() == pytest.approx(0.49)
    loss.backward()
    assert rows.grad is not None
    expected = -2 * 0.7 / 3 * rows.detach() / rows.detach().norm(dim=1, keepdim=True)
    torch.testing.assert_close(rows.grad, expected)  # downhill is outwards, alike for every row


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, classes=st.integers(2, 5))
def test_information_is_a_divergence_of_rows_from_their_mean(seed: int, classes: int) -> None:
    p = draw(seed, 4, classes).softmax(dim=1)
    mean = p.mean(dim=0)
    mutual = (p * (p / mean).log()).sum(dim=1).mean()  # mean KL(p_i || mean p)
    assert information(p.log()).item() == pytest.approx(-mutual.item(), abs=1e-12)


def test_gradients_match_finite_differences() -> None:
    check = torch.autograd.gradcheck
    logits, other = draw(0, 3, 4).requires_grad_(), draw(1, 2, 4).requires_grad_()
    h, g = torch.tensor([0, 3, 1]), torch.tensor([2, 2])
    assert check(lambda a, b: margin_disparity(a, h, b, g, margin=4.0), (logits, other))
    assert check(information, (logits,))
    assert check(spectral_penalty, (logits,))
    assert check(nuclear_norm, (logits,))


def test_centroids_are_k_means_begun_from_predictions() -> None:
    torch.manual_seed(0)
    true = torch.arange(60) % 3
    features = 4 * torch.eye(3)[true] + 0.3 * torch.randn(60, 3)
    # predictions that err in a third of the rows, yet whose weighted means lean the right way
    guessed = torch.where(torch.arange(60) < 20, (true + 1) % 3, true)
    centres = centroids(features, 0.8 * F.one_hot(guessed, 3) + 0.2 / 3)
    assert torch.equal(nearest(features, centres), true)
    for k in range(3):
        torch.testing.assert_close(centres[k], features[true == k].mean(dim=0))
    weighted = centroids(features, torch.ones(60, 3) / 3, rounds=0)
    torch.testing.assert_close(weighted, features.mean(dim=0).expand(3, 3))


def test_a_class_that_nothing_is_near_to_keeps_its_centre() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1]])
    centres = centroids(features, torch.tensor([[0.9, 0.1], [0.9, 0.1]]))
    assert centres.isfinite().all()
