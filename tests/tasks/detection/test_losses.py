"""The two losses against loops over boxes, and what does and does not move them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tasks.detection.boxes import centred
from tasks.detection.losses import detection_losses, hard_negatives, targets
from tests.tasks.detection import slow
from tests.tasks.detection.random_boxes import random_boxes

CLASSES = 4


def example(seed: int, counts: tuple[int, ...] = (2, 0, 3), priors: int = 25) -> tuple[Tensor, Tensor, Tensor]:
    """Offsets, logits and priors for a batch of `counts` objects an image."""
    generator = torch.Generator().manual_seed(seed)
    offsets = 2 * torch.randn(len(counts), priors, 4, generator=generator)
    logits = torch.randn(len(counts), priors, CLASSES + 1, generator=generator)
    return offsets, logits, centred(random_boxes(priors, seed))


def as_labels(*lists: list[int]) -> list[Tensor]:
    return [torch.tensor(one, dtype=torch.int64) for one in lists]


def objects(seed: int, counts: tuple[int, ...] = (2, 0, 3)) -> tuple[list[Tensor], list[Tensor]]:
    boxes = [random_boxes(count, seed + 10 * k) for k, count in enumerate(counts)]
    labels = [torch.arange(seed, seed + count) % CLASSES for count in counts]
    return boxes, labels


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_as_the_loops_have_them(seed: int) -> None:
    (offsets, logits, priors), (boxes, labels) = example(seed), objects(seed + 1)
    found = detection_losses(offsets, logits, priors, boxes, labels)
    where, what = slow.losses(
        offsets.tolist(),
        logits.tolist(),
        priors.tolist(),
        [one.tolist() for one in boxes],
        [one.tolist() for one in labels],
    )
    assert list(found) == ["localisation", "classification"]  # tasks 1 and 2
    assert float(found["localisation"]) == pytest.approx(where, rel=1e-3)
    assert float(found["classification"]) == pytest.approx(what, rel=1e-4)


def test_a_batch_without_objects_costs_nothing_and_moves_nothing() -> None:
    offsets, logits, priors = example(0, counts=(0, 0))
    offsets.requires_grad_(), logits.requires_grad_()
    found = detection_losses(offsets, logits, priors, *objects(0, counts=(0, 0)))
    assert [loss.item() for loss in found.values()] == [0.0, 0.0]
    torch.stack(list(found.values())).sum().backward()
    assert offsets.grad is not None
    assert logits.grad is not None
    assert not offsets.grad.any()
    assert not logits.grad.any()


def test_each_loss_moves_its_own_prediction_only() -> None:
    offsets, logits, priors = example(3)
    offsets.requires_grad_(), logits.requires_grad_()
    boxes, labels = objects(3)
    found = detection_losses(offsets, logits, priors, boxes, labels)
    _, classes = targets(priors, boxes, labels)
    where = torch.autograd.grad(found["localisation"], [offsets, logits], retain_graph=True, allow_unused=True)
    what = torch.autograd.grad(found["classification"], [offsets, logits], allow_unused=True)
    assert where[1] is None
    assert what[0] is None
    assert torch.equal(where[0].abs().sum(-1) > 0, classes > 0)
    counted = what[1].abs().sum(-1) > 0
    assert counted.sum(dim=1).tolist() == [4 * int(count) for count in (classes > 0).sum(dim=1)]


def test_scale_of_the_batch_does_not_matter() -> None:
    (offsets, logits, priors), (boxes, labels) = example(5), objects(5)
    once = detection_losses(offsets, logits, priors, boxes, labels)
    twice = detection_losses(offsets.repeat(2, 1, 1), logits.repeat(2, 1, 1), priors, boxes * 2, labels * 2)
    for name, loss in once.items():
        torch.testing.assert_close(twice[name], loss)


@settings(deadline=None, max_examples=40)
@given(positives=st.integers(0, 8), count=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_negatives_are_the_hardest_and_never_too_many(positives: int, count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    losses = torch.rand(1, count, generator=generator)
    positive = torch.zeros(1, count, dtype=torch.bool)
    positive[0, : min(positives, count)] = True
    chosen = hard_negatives(losses, positive)
    assert not (chosen & positive).any()
    assert int(chosen.sum()) == min(3 * int(positive.sum()), int((~positive).sum()))
    left = ~chosen & ~positive
    if chosen.any() and left.any():
        assert losses[chosen].min() >= losses[left].max()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"offsets": torch.zeros(3, 25, 5)}, r"offsets must have shape \[3, 25, 4\], got \[3, 25, 5\]"),
        ({"logits": torch.zeros(2, 25, 5)}, r"logits must have shape \[3, 25, classes \+ 1\], got \[2, 25, 5\]"),
        ({"logits": torch.zeros(3, 25, 1)}, r"logits must have shape"),
        ({"labels": [torch.zeros(2, dtype=torch.int64)] * 3}, r"one label each, got .* with \[2, 2, 2\] labels"),
        ({"labels": []}, r"one label each, got .* with \[\] labels"),
        ({"boxes": [torch.rand(2, 3), torch.zeros(0, 4), torch.rand(3, 4)]}, r"got \[\[2, 3\], \[0, 4\], \[3, 4\]\]"),
        ({"labels": as_labels([0, -1], [], [0, 1, 2])}, r"labels must be from 0 to 3, got \[0, -1\]"),
        ({"labels": as_labels([0, 1], [], [0, 4, 2])}, r"labels must be from 0 to 3, got \[0, 4, 2\]"),
        ({"boxes": [random_boxes(2, 0).flip(1), torch.zeros(0, 4), random_boxes(3, 0)]}, "finite with x1 < x2"),
        ({"boxes": [random_boxes(2, 0) * torch.nan, torch.zeros(0, 4), random_boxes(3, 0)]}, "finite with x1 < x2"),
    ],
)
def test_what_does_not_belong_together(changed: dict[str, object], message: str) -> None:
    (offsets, logits, priors), (boxes, labels) = example(0), objects(0)
    arguments = {"offsets": offsets, "logits": logits, "priors": priors, "boxes": boxes, "labels": labels, **changed}
    with pytest.raises(ValueError, match=message):
        detection_losses(**arguments)


def test_labels_that_are_no_integers() -> None:
    (offsets, logits, priors), (boxes, labels) = example(0), objects(0)
    with pytest.raises(TypeError, match="labels must be int64, got torch.float32"):
        detection_losses(offsets, logits, priors, boxes, [kinds.float() for kinds in labels])
