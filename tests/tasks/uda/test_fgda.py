"""FGDA: feature gradients and the Jacobian by hand, who is moved by which loss, and whose labels the target has."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tasks.uda.losses import centroids, nearest
from tasks.uda.systems.fgda import FGDA, feature_gradients, jacobian_penalty
from tests.tasks.uda.test_losses_of_systems import draw
from tests.tasks.uda.test_mended_faults import batch_of
from tests.tasks.uda.test_systems import descend, live

LABELS = torch.arange(6) % 4


def of_linear_head() -> tuple[FGDA, nn.Linear]:
    """In double precision, with a linear classifier of 3 features and 4 classes."""
    system = live("fgda").system
    assert isinstance(system, FGDA)
    head = nn.Linear(3, 4).double()
    system.classifier = head
    system.discriminator = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    return system, head


def by_hand(head: nn.Linear, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Row i of the softmax cross-entropy's gradient: (p_i - onehot_i) W / N."""
    return (head(features).softmax(dim=1) - F.one_hot(labels, 4).double()) @ head.weight / len(features)


def test_feature_gradients_are_those_of_the_mean_cross_entropy() -> None:
    head = nn.Linear(3, 4).double()
    features = draw(0, 6, 3).requires_grad_()
    torch.testing.assert_close(feature_gradients(features, head(features), LABELS), by_hand(head, features, LABELS))
    assert torch.autograd.gradcheck(lambda f: feature_gradients(f, head(f), LABELS), (features,))


def test_the_alignment_is_the_domain_loss_of_gradients_and_its_own_pull_is_reversed() -> None:
    system, head = of_linear_head()
    source, target = draw(0, 6, 3).requires_grad_(), draw(1, 6, 3).requires_grad_()
    guessed = head(target).argmax(dim=1)
    scores = [
        torch.sigmoid(system.discriminator(by_hand(head, *pair))) for pair in ((source, LABELS), (target, guessed))
    ]
    expected = -(scores[0].log().mean() + (1 - scores[1]).log().mean()) / 2
    torch.testing.assert_close(system.align(source, LABELS, target, 0.3), expected)
    wanted = torch.autograd.grad(expected, (source, target))
    found = torch.autograd.grad(system.align(source, LABELS, target, 0.3), (source, target))
    for ours, plain in zip(found, wanted, strict=True):
        assert plain.abs().max() > 0
        torch.testing.assert_close(ours, -0.3 * plain)
    # a reversal of -1 is none: finite differences see the second derivatives themselves
    assert torch.autograd.gradcheck(lambda s, t: system.align(s, LABELS, t, -1.0), (source, target))


def test_the_alignment_leaves_the_classifier_alone() -> None:
    task = live("fgda")
    batch = batch_of(task)
    networks = task.system.networks
    for index in range(2):  # the first reversal is by 0
        (phase,) = task.system.step(batch, index)
        descend(phase)
    before = {key: value.clone() for key, value in networks["classifier"].state_dict().items()}
    assert isinstance(task.system, FGDA)
    source, target = task.system.both(networks["generator"], batch)
    alignment = task.system.align(source, batch.labels, target, 1.0)
    assert all(torch.equal(before[key], value) for key, value in networks["classifier"].state_dict().items())
    classifier, generator, judge = (
        torch.autograd.grad(alignment, list(networks[one].parameters()), retain_graph=True, allow_unused=True)
        for one in ("classifier", "generator", "gradient discriminator")
    )
    assert all(one is None for one in classifier)
    assert any(one is not None and one.abs().max() > 0 for one in generator)
    assert all(one is not None for one in judge)


def test_the_discriminator_sees_both_domains_at_once_and_no_scale() -> None:
    """Feature gradients shrink with the batch and as the classifier grows sure; which domain it is must not fade."""
    task = live("fgda")
    judge, seen = task.system.networks["gradient discriminator"], []
    judge.register_forward_hook(lambda _, inputs, out: seen.append(inputs[0]))
    next(iter(task.step(0)))
    (rows,) = seen
    assert len(rows) == 2 * 16
    first, scaled = judge(100 * rows.detach()), judge(1000 * rows.detach())
    assert first.std() > 0.01
    torch.testing.assert_close(first, scaled, rtol=0.05, atol=1e-3)


def test_the_jacobian_penalty_is_half_the_squared_norm_on_average() -> None:
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    features = draw(0, 6, 3).requires_grad_()
    rows = [torch.autograd.functional.jacobian(net, row) for row in features.detach()]  # [4, 3] each
    exact = sum(float(row.square().sum()) for row in rows) / 6 / 2
    basis = [torch.eye(4, dtype=torch.float64)[k].expand(6, 4) for k in range(4)]
    each = [jacobian_penalty(features, net(features), v).item() for v in basis]
    assert sum(each) / 4 == pytest.approx(exact)
    one = F.normalize(draw(1, 6, 4), dim=1)
    by_rows = sum(float((v @ row).square().sum()) for v, row in zip(one, rows, strict=True)) * 4 / (2 * 6)
    assert jacobian_penalty(features, net(features), one).item() == pytest.approx(by_rows)
    assert torch.autograd.gradcheck(lambda f: jacobian_penalty(f, net(f), one), (features,))


def test_the_classification_is_the_cross_entropy_and_the_penalty_of_unit_directions() -> None:
    """On a linear classifier the penalty lies between K s^2 / 2 of the least and greatest singular value s."""
    task = live("fgda", settings={"jacobian": 2.0})
    assert isinstance(task.system, FGDA)
    system, batch = task.system, batch_of(task)
    system.classifier = nn.Linear(system.generator.width, 10)
    (phase,) = system.step(batch, 3)
    (again,) = system.step(batch, 3)
    (other,) = system.step(batch, 4)
    source = system.generator(batch.source)
    penalty = (phase.losses["classification"] - F.cross_entropy(system.classifier(source), batch.labels)).item() / 2
    singular = torch.linalg.svdvals(system.classifier.weight)
    assert 10 * singular[-1].square().item() / 2 <= penalty <= 10 * singular[0].square().item() / 2
    assert phase.losses["classification"].item() == again.losses["classification"].item()
    assert phase.losses["classification"].item() != other.losses["classification"].item()


def test_pseudo_labels_are_guesses_for_a_period_and_then_those_of_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    task = live("fgda", settings={"period": 2})
    assert isinstance(task.system, FGDA)
    system = task.system
    seen, centres = [], []
    kept = feature_gradients

    def spy(features: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append((features.detach(), logits.detach(), labels))
        return kept(features, logits, labels)

    monkeypatch.setattr("tasks.uda.systems.fgda.feature_gradients", spy)
    for index in range(5):
        if index in (2, 4):
            centres.append(centroids(*system.whole_target()))
        for phase in task.step(index):
            descend(phase)
        features, logits, labels = seen[-1]  # the target's, after the source's
        assert torch.equal(labels, nearest(features, centres[-1]) if centres else logits.argmax(dim=1))
    assert not torch.equal(centres[0], centres[1])
