"""max J(W) against scikit-learn's linear discriminant analysis, and the linear MMD as a double sum."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from tasks.uda.losses import linear_mmd, separability


def labelled(seed: int, classes: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(20 * classes) % classes
    centres = 3 * torch.randn(classes, width, generator=draws, dtype=torch.float64)
    return centres[labels] + torch.randn(len(labels), width, generator=draws, dtype=torch.float64), labels


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), classes=st.integers(2, 5), width=st.integers(1, 6))
def test_separability_is_the_ratio_along_scikit_learns_discriminants(seed: int, classes: int, width: int) -> None:
    features, labels = labelled(seed, classes, width)
    lda = LinearDiscriminantAnalysis(solver="eigen").fit(features.numpy(), labels.numpy())
    projected = torch.from_numpy(lda.transform(features.numpy()))  # rows along the discriminants, at most K - 1
    means = torch.stack([projected[labels == k].mean(dim=0) for k in range(classes)])
    within = ((projected - means[labels]) ** 2).sum(dim=0)
    between = ((means[labels] - projected.mean(dim=0)) ** 2).sum(dim=0)
    found = separability(features, labels, classes=classes, ridge=0.0)
    assert found == pytest.approx((between / within).sum().item(), rel=1e-6)


def test_separability_does_not_depend_on_the_scale_or_the_frame() -> None:
    features, labels = labelled(0, 4, 5)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    plain = separability(features, labels, classes=4)
    assert separability(1e-3 * features, labels, classes=4) == pytest.approx(plain, rel=1e-6)
    assert separability(features @ rotation + 7, labels, classes=4) == pytest.approx(plain, rel=1e-6)


def test_constant_and_wide_features_have_a_finite_separability() -> None:
    features, labels = labelled(0, 3, 2)
    wide = torch.cat([features, torch.zeros(len(features), 200, dtype=torch.float64)], dim=1)
    assert separability(wide, labels, classes=3) == pytest.approx(separability(features, labels, classes=3), rel=1e-2)
    assert separability(torch.zeros(6, 2), torch.arange(6) % 3, classes=3) == 0


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"labels holds 1 class\(es\); allowed: at least 2"):
        separability(torch.randn(4, 2), torch.zeros(4, dtype=torch.int64), classes=3)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 5), m=st.integers(1, 5))
def test_the_linear_mmd_is_a_double_sum_of_inner_products(seed: int, n: int, m: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(k, 3, generator=draws, dtype=torch.float64) for k in (n, m))
    total = 0.0
    for a, b, sign, count in ((x, x, 1, n * n), (y, y, 1, m * m), (x, y, -2, n * m)):
        total += sign * sum((p @ q).item() for p in a for q in b) / count
    assert linear_mmd(x, y).item() == pytest.approx(total, abs=1e-9)


def test_the_gradient_of_the_linear_mmd_matches_finite_differences() -> None:
    draws = torch.Generator().manual_seed(0)
    x, y = (torch.randn(k, 3, generator=draws, dtype=torch.float64).requires_grad_() for k in (2, 4))
    assert torch.autograd.gradcheck(linear_mmd, (x, y))
