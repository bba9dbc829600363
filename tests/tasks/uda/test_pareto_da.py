"""ParetoDA: its linear programmes against cvxpy, its losses written out, whom the weights reach, what is held out."""

import math

import cvxpy as cp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn

from tasks.uda.guidance import dominating, guided, weights_of
from tasks.uda.losses import information
from tasks.uda.systems.pareto_da import ParetoDA
from tests.tasks.uda.test_losses_of_systems import draw
from tests.tasks.uda.test_systems import live

LABELS = torch.arange(6) % 4


@st.composite
def gradients(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Of m losses, and of the held-out one: whole numbers, so that equal, opposite and zero ones are frequent."""
    m, n = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    numbers = st.lists(st.integers(-3, 3), min_size=n, max_size=n)
    rows = np.array([draw(numbers) for _ in range(m)], dtype=float)
    return rows, np.array(draw(numbers), dtype=float)


def best(gain: np.ndarray, conditions: list[tuple[np.ndarray, float]]) -> float | None:
    """The programme by another solver: its value, None where nothing meets the conditions."""
    w = cp.Variable(len(gain), nonneg=True)
    programme = cp.Problem(cp.Maximize(gain @ w), [cp.sum(w) == 1, *(row @ w >= least for row, least in conditions)])
    programme.solve(solver=cp.CLARABEL)
    return float(programme.value) if programme.status == cp.OPTIMAL else None


def expect(found: np.ndarray | None, gain: np.ndarray, conditions: list[tuple[np.ndarray, float]]) -> None:
    wanted = best(gain, conditions)
    assert (found is None) == (wanted is None)
    if found is not None:
        assert found.sum() == pytest.approx(1)
        assert found.min() >= -1e-9
        assert gain @ found == pytest.approx(wanted, abs=1e-5)
        assert all(row @ found >= least - 1e-5 for row, least in conditions)


@given(gradients())
@example((np.array([[3.0, 2, 1], [-4, -3, 3], [-3, -4, -4]]), np.array([1.0, -1, 0])))  # where agreeing binds
def test_guided_weights_solve_their_programme(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    rows, held_out = drawn
    gramian, along = rows @ rows.T, rows @ held_out
    agreeing = along > 0
    conditions = [
        (gramian[j], 0.0 if not agreeing.any() or along[j] == along.max() else along[j])
        for j in range(len(along))
        if not agreeing[j] or along[j] == along.max()
    ]
    found = guided(gramian, along)
    assert found is not None  # the shortest vector of the hull meets every condition
    expect(found, along, conditions)


@given(gradients())
def test_dominating_weights_solve_their_programme(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    rows, held_out = drawn
    gramian, along = rows @ rows.T, rows @ held_out
    conditions = [*((row, 0.0) for row in gramian), (along, min(along.max(), 0.0))]
    expect(dominating(gramian, along), gramian.sum(axis=0), conditions)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6])
def test_the_size_of_gradients_changes_no_weight(scale: float) -> None:
    rows = np.array([[1.0, 0.2], [-0.5, 1.0], [0.3, -0.4]])
    held_out = np.array([0.4, 0.7])
    for programme in (guided, dominating):
        plain = programme(rows @ rows.T, rows @ held_out)
        np.testing.assert_allclose(programme(scale * rows @ rows.T, scale * rows @ held_out), plain, atol=1e-6)


def test_weights_follow_the_held_out_loss_until_its_end_and_are_none_where_a_gradient_is_not_finite() -> None:
    gramian, along = np.diag([1.0, 9.0]), np.array([2.0, 1.0])
    np.testing.assert_allclose(weights_of(gramian, along, gap=0.5), [2, 0], atol=1e-9)
    np.testing.assert_allclose(weights_of(gramian, along, gap=1e-4), [0, 2], atol=1e-9)
    for bad in (np.nan, np.inf):
        assert weights_of(np.diag([1.0, bad]), along, gap=0.5) is None
        assert weights_of(gramian, np.array([bad, 1.0]), gap=0.5) is None


def small(variant: str = "principled") -> ParetoDA:
    """In double precision, with linear networks on 3 features and 4 classes."""
    system = live("pareto_da", variant).system
    assert isinstance(system, ParetoDA)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        system.classifier = nn.Linear(3, 4).double()
        system.discriminator = nn.Linear(3, 1).double()
        system.of_classes = nn.ModuleList(nn.Linear(3, 1).double() for _ in range(4))
    return system


def test_predictions_are_refined_by_bayes_rule_and_were_products_of_logits() -> None:
    features = draw(0, 6, 3)
    for variant in ("principled", "released"):
        system = small(variant)
        logits = system.classifier(features)
        target = torch.cat([1 - one(features).sigmoid() for one in system.of_classes], dim=1)  # P(target | x, k)
        if variant == "principled":
            joint = logits.softmax(dim=1) * target
            expected = joint / joint.sum(dim=1, keepdim=True)
        else:
            expected = (logits * target).softmax(dim=1)
        torch.testing.assert_close(system.refined(features).softmax(dim=1), expected)


def test_mimicking_is_minus_an_information_with_networks_as_constants() -> None:
    system, features = small(), draw(1, 5, 3).requires_grad_()
    loss = information(system.refined(features))
    p = system.refined(features).softmax(dim=1).detach()
    mean = p.mean(dim=0)
    assert loss.item() == pytest.approx(
        sum(m * math.log(m) for m in mean.tolist()) - sum(q * math.log(q) for row in p.tolist() for q in row) / len(p)
    )
    networks = [*system.classifier.parameters(), *system.of_classes.parameters()]
    assert not any(
        torch.is_tensor(g) for g in torch.autograd.grad(loss, networks, retain_graph=True, allow_unused=True)
    )
    # the domain's probabilities are constants too: finite differences with them held
    held = torch.cat([F.logsigmoid(-one(features)) for one in system.of_classes], dim=1).detach()
    (found,) = torch.autograd.grad(loss, features)
    plain = information(system.classifier(features).log_softmax(dim=1) + held)
    torch.testing.assert_close(found, torch.autograd.grad(plain, features)[0])
    assert torch.autograd.gradcheck(lambda x: information(system.classifier(x).log_softmax(dim=1) + held), (features,))


def test_class_discriminators_learn_from_the_rows_of_their_class_and_did_from_all() -> None:
    source, target, guessed = draw(0, 6, 4), draw(1, 5, 4), draw(2, 5, 4)
    for variant in ("principled", "released"):
        labels = LABELS if variant == "principled" else LABELS[-1].expand(6)
        shares = guessed.softmax(dim=1) if variant == "principled" else guessed
        of_source = sum(math.log1p(math.exp(-source[i, labels[i]])) for i in range(6)) / 6
        of_target = sum(shares[j, k] * math.log1p(math.exp(target[j, k])) for j in range(5) for k in range(4)) / 5
        found = small(variant).class_confusion(source, target, LABELS, guessed)
        assert found.item() == pytest.approx(float(of_source + of_target) / 8)


def test_weights_reach_the_features_and_nothing_behind_them() -> None:
    system, weights = small(), [2.0, 0.25, 0.75]
    source, target = draw(0, 6, 3).requires_grad_(), draw(1, 5, 3).requires_grad_()
    behind = [*system.classifier.parameters(), *system.discriminator.parameters()]
    plain = system.losses(source, target, LABELS, 0.5, [1.0, 1.0, 1.0])
    weighed = system.losses(source, target, LABELS, 0.5, weights)
    for before, after, weight in zip(plain, weighed, weights, strict=True):
        assert torch.equal(before, after)
        wanted, found = (
            torch.autograd.grad(one, [source, target, *behind], materialize_grads=True) for one in (before, after)
        )
        for k, (old, new) in enumerate(zip(wanted, found, strict=True)):
            torch.testing.assert_close(new, weight * old if k < 2 else old)


def test_the_generator_follows_the_held_out_gradient_and_hardly_did() -> None:
    for variant in ("principled", "released"):
        system = small(variant)
        system.generator = nn.Linear(2, 3).double()
        images, held_out = draw(3, 12, 2), draw(4, 5, 2)
        source, target, apart = system.generator(images[:6]), system.generator(images[6:]), system.generator(held_out)
        found = np.array(system.weigh(source, target, apart, LABELS, 0.5))
        losses = [*system.losses(source, target, LABELS, 0.5, [1.0] * 3), information(system.refined(apart))]
        shared = list(system.generator.parameters())
        rows = np.array(
            [
                np.concatenate([g.numpy().ravel() for g in torch.autograd.grad(one, shared, retain_graph=True)])
                for one in losses
            ]
        )
        gramian, along = rows[:3] @ rows[:3].T, rows[:3] @ rows[3]
        if variant == "principled":
            wanted = guided(gramian, along)
            assert wanted is not None
            np.testing.assert_allclose(found, 3 * wanted, atol=1e-6)
        else:
            wanted = dominating(gramian, along)
            np.testing.assert_allclose(found, [1, 1, 0] + 3 * (np.ones(3) if wanted is None else wanted), atol=1e-6)


def test_held_out_images_are_trained_on_by_nobody() -> None:
    task = live("pareto_da")
    whole = task._domains["target"].train.images
    held = task._batches["held-out"]._split.images
    trained = task._batches["target"]._split.images
    assert len(held) == round(0.1 * len(whole))
    assert len(trained) + len(held) == len(whole)

    def keys(images: torch.Tensor) -> list[bytes]:
        return sorted(one.numpy().tobytes() for one in images)

    assert sorted(keys(held) + keys(trained)) == keys(whole)
    assert "held-out" not in live("dann")._batches
