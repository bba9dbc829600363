"""Losses that belong to one system, against their formulas written out."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tasks.uda.schedules import ramp
from tasks.uda.systems.alda import corrected_labels, label_loss, masked_mean
from tasks.uda.systems.cgdm import gradient_gap
from tasks.uda.systems.symnets import category_confusion, class_entropy, domain_confusion_of_outputs, domain_logarithms
from tests.tasks.uda.test_mended_faults import batch_of
from tests.tasks.uda.test_systems import descend, live


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_aldas_corrected_labels_are_a_distribution_led_by_the_score_of_the_label() -> None:
    scores, labels = draw(0, 3, 4), torch.tensor([1, 0, 3])
    c = corrected_labels(scores, labels)
    for row, label in enumerate(labels.tolist()):
        xi = 1 / (1 + math.exp(-scores[row, label].item()))
        for k in range(4):
            assert c[row, k].item() == pytest.approx(xi if k == label else (1 - xi) / 3)
    wanted = draw(1, 3, 4).softmax(dim=1)
    expected = [
        -sum(w * math.log(p) + (1 - w) * math.log(1 - p) for w, p in zip(ws, ps, strict=True))
        for ws, ps in zip(wanted.tolist(), c.tolist(), strict=True)
    ]
    assert label_loss(c, wanted).tolist() == pytest.approx(expected)
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: label_loss(corrected_labels(s, labels), wanted), (scores,))
    assert masked_mean(torch.tensor([1.0, 5.0, 3.0]), torch.tensor([True, False, True])) == 2
    assert masked_mean(torch.ones(2), torch.zeros(2).bool()) == 0


def test_symnets_losses_are_sums_over_one_softmax_of_both_classifiers() -> None:
    logits, labels = [draw(0, 3, 4), draw(1, 3, 4)], torch.tensor([2, 0, 3])
    p = torch.cat(logits, dim=1).softmax(dim=1)  # [3, 8]: classes of the source's classifier, then of the target's
    source, target = p[:, :4].sum(dim=1), p[:, 4:].sum(dim=1)
    torch.testing.assert_close(domain_logarithms(logits), torch.stack([source.log(), target.log()]))
    half = -(source.log() + target.log()).mean() / 2
    torch.testing.assert_close(domain_confusion_of_outputs(logits), half)
    rows = torch.arange(3)
    torch.testing.assert_close(
        category_confusion(logits, labels), -(p[rows, labels].log() + p[rows, labels + 4].log()).mean() / 2
    )
    q = p[:, :4] + p[:, 4:]
    torch.testing.assert_close(class_entropy(logits), -(q * q.log()).sum(dim=1).mean())
    a, b = (one.requires_grad_() for one in logits)
    for loss in (domain_confusion_of_outputs, class_entropy, lambda pair: category_confusion(pair, labels)):
        assert torch.autograd.gradcheck(lambda x, y, loss=loss: loss([x, y]), (a, b))


def test_cgdms_gap_is_one_minus_the_cosine_of_two_gradients() -> None:
    head = nn.Linear(3, 4).double()
    x, y, labels = draw(0, 5, 3), draw(1, 5, 3).requires_grad_(), torch.arange(5) % 4
    over = list(head.parameters())

    def gap(y: torch.Tensor) -> torch.Tensor:
        return gradient_gap(F.cross_entropy(head(x), labels), F.cross_entropy(head(y), labels), over)

    def by_hand(rows: torch.Tensor) -> torch.Tensor:  # dCE/dW = mean (p - onehot) x', dCE/db = mean (p - onehot)
        error = (head(rows).softmax(dim=1) - F.one_hot(labels, 4)) / len(rows)
        return torch.cat([(error.T @ rows).flatten(), error.sum(dim=0)]).detach()

    g, h = by_hand(x), by_hand(y)
    torch.testing.assert_close(gap(y).detach(), 1 - g @ h / (g.norm() * h.norm()))
    assert torch.autograd.gradcheck(gap, (y,))


@pytest.mark.parametrize(("index", "task_after"), [(4, "classification"), (5, "alignment")])
def test_metaalign_sees_the_other_loss_after_an_inner_step(index: int, task_after: str) -> None:
    """To first order in `inner`, what the task judged after it gains is minus the inner product of the gradients."""
    values = {}
    for inner in (0.0, 1e-4):
        task = live("meta_align", settings={"inner": inner})
        list(map(descend, task.step(0)))
        task._batches["source"]._position = task._batches["target"]._position = 0
        batch = batch_of(task)
        (phase,) = task.system.step(batch, index)
        over = list(task.system.networks["generator"].parameters())
        gradients = [
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, over, retain_graph=True)])
            for loss in phase.losses.values()
        ]
        values[inner] = (phase.losses[task_after].item(), (gradients[0] @ gradients[1]).item())
    plain, inner_product = values[0.0]
    assert abs(inner_product) > 1e-4
    # the generator ascends on the value of the domain loss: its gradient is the reversed one
    expected = -inner_product if task_after == "classification" else inner_product / ramp(index / 6)
    assert (values[1e-4][0] - plain) / 1e-4 == pytest.approx(expected, rel=0.2, abs=0.02)


def test_addas_target_generator_starts_as_a_copy_and_the_first_one_rests() -> None:
    task = live("adda", warmup=1)
    networks = task.system.networks
    for phase in task.step(0):
        descend(phase)
    first = {key: value.clone() for key, value in networks["generator"].state_dict().items()}
    phases = task.step(1)
    next(phases)
    copied = dict(networks["target generator"].named_parameters())
    assert all(torch.equal(copied[key], value) for key, value in networks["generator"].named_parameters())
    for phase in phases:
        descend(phase)
    kept = networks["generator"].state_dict()  # batch norm's running means too
    assert all(torch.equal(first[key], kept[key]) for key in kept)
    assert any(not torch.equal(copied[key], value) for key, value in first.items() if key in copied)


def test_adda_judges_each_domain_by_its_own_generator() -> None:
    task = live("adda", warmup=1)
    for index in range(3):
        for phase in task.step(index):
            descend(phase)
    images = torch.randn(5, 1, 16, 16)
    task.system.networks.eval()
    own = {"source": task.system.networks["generator"], "target": task.system.networks["target generator"]}
    for role, generator in own.items():
        features = generator(images)
        assert torch.equal(task.system.features(images, source=role == "source"), features)
        expected = task.system.networks["classifier"](features).softmax(dim=1)
        assert torch.equal(task.system.probabilities(images, source=role == "source"), expected)
    assert not torch.equal(own["source"](images), own["target"](images))
    seen = []
    features_of = task.system.features
    task.system.features = lambda images, source=False: (seen.append(source), features_of(images, source=source))[1]
    task.evaluate()
    assert seen == [
        False,
        True,
        False,
        True,
        True,
    ]  # the MMD's two, accuracy on the target, on the source in two batches
    seen.clear()
    task.validation_score()
    assert seen == [True]


def test_shot_leaves_classifier_and_source_alone_once_it_adapts() -> None:
    task = live("shot", warmup=0)
    system = task.system
    before = {key: value.clone() for key, value in system.networks["classifier"].state_dict().items()}
    batch = batch_of(task)
    blank = type(batch)(torch.full_like(batch.source, torch.nan), batch.labels, batch.target)
    for index in range(2):
        for phase in system.iterate(blank, index):
            descend(phase)
    after = system.networks["classifier"].state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)  # batch norm's running means too
    assert all(p.isfinite().all() for p in system.networks.parameters())
