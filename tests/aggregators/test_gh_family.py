"""GH and GH++ against the relations that gh_maths derives; hypothesis looks for the pair that breaks them."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from mtlgrad import GH, STCH, CAGrad, Fixed, GHPlusPlus, GradDrop, NegatedGradient, PCGrad, Sum
from mtlgrad.aggregators.ghpp import MIN_SINE

angles = st.floats(math.pi / 2 + 1e-3, math.pi - 1e-3)
log_ratios = st.floats(-6, 6)
shares = st.floats(0, 1)


def pair(theta: float, ratio: float = 1.0, n: int = 5) -> Tensor:
    """Two rows at angle theta, |g2| / |g1| = ratio, in a plane that is not axis-aligned."""
    basis = torch.linalg.qr(torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(7)))[0].T
    return torch.stack([basis[0], ratio * (math.cos(theta) * basis[0] + math.sin(theta) * basis[1])])


def random_jacobian(seed: int, m: int, n: int = 12) -> Tensor:
    return torch.randn(m, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------ GH


@given(angles, log_ratios)
@settings(deadline=None)
def test_gh_turns_the_angle_into_its_supplement_and_serves_both(theta: float, log_ratio: float) -> None:
    J = pair(theta, 10**log_ratio)
    G = J @ J.T
    a2, b2, c = G[0, 0], G[1, 1], G[0, 1]
    harmonized = GH().parts(G) @ J
    sine2 = math.sin(theta) ** 2
    inner = harmonized[0] @ harmonized[1]
    torch.testing.assert_close(inner, -c * sine2, rtol=1e-6, atol=1e-12 * float((a2 * b2).sqrt()))
    weights = GH().weights(G)
    torch.testing.assert_close(weights, torch.stack([1 - c / a2, 1 - c / b2]), rtol=1e-12, atol=0)
    norms = J.norm(dim=1)
    rounding = 16 * torch.finfo(torch.float64).eps * norms * (weights @ norms)  # of the two large vectors that cancel
    gap = (J @ GH()(J) - torch.stack([a2, b2]) * sine2).abs()
    assert bool((gap <= 1e-6 * torch.stack([a2, b2]) * sine2 + rounding).all())


@given(st.integers(0, 10**6), log_ratios)
@settings(deadline=None)
def test_gh_is_pcgrad_for_two_tasks(seed: int, log_ratio: float) -> None:
    J = random_jacobian(seed, 2) * torch.tensor([[1.0], [10**log_ratio]])
    G = J @ J.T
    for order in ("random", "fixed"):
        torch.testing.assert_close(PCGrad(order=order).weights(G), GH().weights(G), rtol=1e-12, atol=0)


@given(st.integers(0, 10**6), st.integers(3, 8))
@settings(deadline=None, max_examples=50)
def test_gh_for_m_tasks_serves_every_task_and_moves_each_gradient_least(seed: int, m: int) -> None:
    J = random_jacobian(seed, m, n=m + 2)
    harmonized = GH().parts(J @ J.T) @ J
    inner = harmonized @ J.T
    assert bool((inner >= -1e-9).all())
    # The projection on a convex cone: the residual is orthogonal to it, and makes no acute angle with the cone.
    residual = harmonized - J
    torch.testing.assert_close((residual * harmonized).sum(1), torch.zeros(m, dtype=torch.float64), atol=1e-9, rtol=0)
    assert bool((residual @ torch.linalg.pinv(J) >= -1e-9).all())  # residual = J^T v with v >= 0


def test_gh_differs_from_pcgrad_for_three_tasks() -> None:
    J = torch.tensor([[1.0, 0.0], [-0.6, 0.8], [-0.6, -0.7]], dtype=torch.float64)
    assert not torch.allclose(GH()(J), PCGrad(order="fixed")(J))
    assert bool((J @ GH()(J) >= -1e-12).all())


def test_gh_on_opposite_gradients_is_zero() -> None:
    J = torch.tensor([[2.0, 0.0], [-1.0, 0.0]])
    torch.testing.assert_close(GH()(J), torch.zeros(2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("sign", [1, -1])
def test_continuity_at_the_right_angle(sign: int) -> None:
    J = pair(math.pi / 2 + sign * 1e-9, 3.0)
    for method in (GH(), PCGrad(), GHPlusPlus(), GHPlusPlus(form="rotation"), GHPlusPlus(form="rotation", lam="safe")):
        torch.testing.assert_close(method(J), J.sum(0), atol=1e-7, rtol=0, msg=method.name)


# ------------------------------------------------------------------------------ GH++, published


@given(angles, log_ratios, shares)
@settings(deadline=None)
def test_published_form_only_rescales_and_always_costs_task_two(theta: float, log_ratio: float, lam: float) -> None:
    J = pair(theta, 10**log_ratio)
    method = GHPlusPlus(lam=lam)
    boosted, shrunk = method.weights(J @ J.T).tolist()
    delta = theta - math.pi / 2
    assert boosted == pytest.approx(1 + 2 * math.sin(lam * delta / 2), rel=1e-7)
    assert shrunk == pytest.approx(1 - 2 * math.sin((1 - lam) * delta / 2), rel=1e-7, abs=1e-9)
    assert boosted >= 1 >= shrunk
    assert (shrunk < 0) == ((1 - lam) * delta > math.pi / 3 + 1e-12) or abs(shrunk) < 1e-9
    untreated, treated = float(J[1] @ J.sum(0)), float(J[1] @ method(J))
    b2, c = float(J[1] @ J[1]), float(J[0] @ J[1])
    loss = 2 * math.sin(lam * delta / 2) * abs(c) + 2 * math.sin((1 - lam) * delta / 2) * b2
    assert treated == pytest.approx(untreated - loss, rel=1e-6, abs=1e-9 * (b2 + abs(c)))
    assert treated < untreated


def test_published_form_at_120_degrees() -> None:
    weights = GHPlusPlus().weights(pair(2 * math.pi / 3) @ pair(2 * math.pi / 3).T)
    torch.testing.assert_close(weights, torch.tensor([1.2611, 0.7389], dtype=torch.float64), atol=5e-5, rtol=0)


def test_published_form_depends_on_the_order_of_the_tasks() -> None:
    J = pair(2.5, 2.0)
    assert not torch.allclose(GHPlusPlus()(J), GHPlusPlus()(J.flip(0)))


# ------------------------------------------------------------------------------- GH++, rotation


@given(angles, log_ratios, shares)
@settings(deadline=None)
def test_rotation_keeps_norms_and_makes_gradients_orthogonal(theta: float, log_ratio: float, lam: float) -> None:
    ratio = 10**log_ratio
    J = pair(theta, ratio)
    turned = GHPlusPlus(lam=lam, form="rotation").parts(J @ J.T) @ J
    torch.testing.assert_close(turned.norm(dim=1), J.norm(dim=1), rtol=1e-7, atol=0)
    assert abs(float(turned[0] @ turned[1])) <= 1e-7 * ratio
    direction = GHPlusPlus(lam=lam, form="rotation")(J)
    assert float(direction @ direction) == pytest.approx(1 + ratio**2, rel=1e-6)
    # Each is turned by its share of theta - 90 degrees.
    delta = theta - math.pi / 2
    turn = torch.linalg.vector_norm(turned[0] - J[0]).item()
    assert turn == pytest.approx(2 * math.sin(lam * delta / 2), abs=1e-7)


@given(angles, log_ratios, shares)
@settings(deadline=None)
def test_rotation_is_the_same_with_tasks_and_shares_swapped(theta: float, log_ratio: float, lam: float) -> None:
    J = pair(theta, 10**log_ratio)
    here = GHPlusPlus(lam=lam, form="rotation")(J)
    there = GHPlusPlus(lam=1 - lam, form="rotation")(J.flip(0))
    torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-9 * float(here.norm()))


@given(st.floats(math.pi / 2, math.pi - 1e-5), log_ratios)
@settings(deadline=None, max_examples=300)
def test_safe_share_never_conflicts(theta: float, log_ratio: float) -> None:
    J = pair(theta, 10**log_ratio)
    direction = GHPlusPlus(lam="safe", form="rotation")(J)
    assert bool((J @ direction >= -1e-9 * J.norm(dim=1) * direction.norm()).all())


def test_fixed_share_conflicts_where_the_theory_says() -> None:
    # lam = 1/2 is safe iff min(a, b) / max(a, b) >= tan(delta / 2).
    theta = 2.4
    edge = math.tan((theta - math.pi / 2) / 2)
    for ratio, safe in ((edge * 1.01, True), (edge * 0.99, False)):
        J = pair(theta, ratio)
        assert bool((J @ GHPlusPlus(form="rotation")(J) >= -1e-12).all()) == safe


def test_endpoint_shares_move_one_task_only() -> None:
    J = pair(2.2, 0.7)
    kept = GHPlusPlus(lam=0.0, form="rotation").parts(J @ J.T) @ J
    torch.testing.assert_close(kept[0], J[0])
    torch.testing.assert_close(kept[1], (GH().parts(J @ J.T) @ J)[1] / math.sin(2.2))


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-9, MIN_SINE / 2])
def test_rotation_of_opposite_gradients_falls_back_on_gh(gap: float) -> None:
    J = pair(math.pi - gap, 2.0)
    method = GHPlusPlus(form="rotation")
    torch.testing.assert_close(method(J), GH()(J))
    assert float(method(J).norm()) <= 1e-4
    assert bool(method.fell_back(J @ J.T))
    assert not bool(method.fell_back(pair(3.0) @ pair(3.0).T))
    assert not bool(GHPlusPlus().fell_back(J @ J.T))


# ---------------------------------------------------------------------------- controls, errors


def test_negated_gradient_flips_one_task_under_conflict_only() -> None:
    J = pair(2.0)
    torch.testing.assert_close(NegatedGradient(task=0)(J), J[1] - J[0])
    torch.testing.assert_close(NegatedGradient(task=1)(J), J[0] - J[1])
    agreeing = pair(1.0)
    torch.testing.assert_close(NegatedGradient(task=1)(agreeing), Sum()(agreeing))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: GHPlusPlus(lam=1.5), r"lam.*\[0, 1\].*1.5"),
        (lambda: GHPlusPlus(lam=float("nan")), r"lam.*\[0, 1\].*nan"),
        (lambda: GHPlusPlus(lam="sage"), r"lam.*'safe'.*'sage'"),
        (lambda: GHPlusPlus(lam="safe"), "form='rotation'"),
        (lambda: GHPlusPlus(form="rotate"), "'published', 'rotation'.*'rotate'"),
        (lambda: NegatedGradient(task=2), "0 or 1.*2"),
        (lambda: NegatedGradient(task=1.0), "0 or 1.*1.0"),
        (lambda: Fixed(weights=1.0), "weights must be a list.*1.0"),
        (lambda: STCH(preference=1.0), "preference must be a list.*1.0"),
        (lambda: GradDrop(leak=()), "leak must hold"),
        (lambda: PCGrad(order="shuffled"), "'random', 'fixed'.*'shuffled'"),
        (lambda: CAGrad(c=-1), "c must be.*-1"),
    ],
)
def test_bad_hyperparameters_are_named(build: object, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        build()  # type: ignore[operator]


def test_three_tasks_for_a_two_task_method() -> None:
    with pytest.raises(ValueError, match=r"GHPlusPlus.*exactly 2.*m=3"):
        GHPlusPlus()(random_jacobian(0, 3))
