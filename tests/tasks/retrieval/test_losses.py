"""Losses against loops over their definitions, gradients against finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tasks.retrieval.losses import TRIPLETS_PER_ANCHOR, batch_softmax, draw_triplets, gallery_softmax, soft_triplet


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(count: int, width: int, seed: int) -> Tensor:
    return torch.randn(count, width, generator=generator(seed), dtype=torch.float64)


def test_batch_softmax_is_its_definition() -> None:
    queries, targets = features(5, 3, 1), features(5, 3, 2)
    expected = 0.0
    for i in range(5):
        scores = [math.exp(float(queries[i] @ targets[j])) for j in range(5)]
        expected -= math.log(scores[i] / sum(scores)) / 5
    assert float(batch_softmax(queries, targets)) == pytest.approx(expected, rel=1e-12)


def by_hand(queries: Tensor, targets: Tensor, triplets: Tensor) -> float:
    both = [*queries.tolist(), *targets.tolist()]
    total = 0.0
    for a, p, n in triplets.tolist():
        near, far = math.dist(both[a], both[p]) ** 2, math.dist(both[a], both[n]) ** 2
        total += math.log(1 + math.exp(near - far))
    return total / len(triplets)


def test_soft_triplet_and_its_gradient() -> None:
    queries, targets = features(4, 3, 1).requires_grad_(), features(4, 3, 2).requires_grad_()
    triplets = draw_triplets(4, generator=generator())
    loss = soft_triplet(queries, targets, triplets)
    assert loss.item() == pytest.approx(by_hand(queries, targets, triplets), rel=1e-12)
    loss.backward()
    step = 1e-6
    for tensor in (queries, targets):
        assert tensor.grad is not None
        for place in range(tensor.numel()):
            shift = torch.zeros(tensor.numel(), dtype=torch.float64)
            shift[place] = step
            values = []
            for sign in (1, -1):
                moved = {
                    id(t): t.detach() + (sign * shift.reshape(t.shape) if t is tensor else 0)
                    for t in (queries, targets)
                }
                values.append(by_hand(moved[id(queries)], moved[id(targets)], triplets))
            # the true gradient: half of it, as in the published code, would be off by a factor of two
            assert float(tensor.grad.flatten()[place]) == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-7)


@pytest.mark.parametrize("count", [3, 4, 17])
def test_triplets(count: int) -> None:
    triplets = draw_triplets(count, generator=generator(count))
    assert triplets.shape == (2 * count * TRIPLETS_PER_ANCHOR, 3)
    anchors, positives, negatives = triplets.unbind(dim=1)
    assert torch.equal(anchors % count, positives % count)
    assert not bool((anchors == positives).any())
    assert not bool((negatives % count == anchors % count).any())
    assert anchors.bincount().tolist() == [TRIPLETS_PER_ANCHOR] * (2 * count)
    assert len(triplets.unique(dim=0)) == len(triplets)  # an anchor's negatives are distinct


def test_triplets_reach_every_negative_alike() -> None:
    counts = torch.zeros(10)
    for seed in range(600):
        triplets = draw_triplets(5, generator=generator(seed))
        counts += triplets[triplets[:, 0] == 0][:, 2].bincount(minlength=10)
    assert counts[0] == counts[5] == 0
    others = counts[[1, 2, 3, 4, 6, 7, 8, 9]]
    # 600 * 3 / 8 = 225 each; standard deviation under 12 without replacement
    assert bool(((others - 225).abs() < 60).all())


def test_too_few_for_triplets() -> None:
    with pytest.raises(ValueError, match="count=2 .*allowed: int >= 3"):
        draw_triplets(2, generator=generator())


def test_gallery_softmax_is_its_definition() -> None:
    queries, gallery = features(2, 3, 1), features(5, 3, 2)
    correct = torch.tensor([[False, True, False, True, False], [True, False, False, False, False]])
    admitted = torch.tensor([[False, True, True, True, True], [True, True, False, True, True]])
    expected = 0.0
    for i in range(2):
        scores = [math.exp(float(queries[i] @ gallery[j])) for j in range(5)]
        right = sum(score for j, score in enumerate(scores) if correct[i, j])
        expected -= math.log(right / sum(score for j, score in enumerate(scores) if admitted[i, j]))
    assert float(gallery_softmax(queries, gallery, correct, admitted)) == pytest.approx(expected, rel=1e-12)


def test_gallery_softmax_of_a_query_knows_no_other_query() -> None:
    queries, gallery = features(3, 4, 1).requires_grad_(), features(6, 4, 2)
    correct = torch.eye(3, 6, dtype=torch.bool)
    admitted = torch.ones(3, 6, dtype=torch.bool)
    (together,) = torch.autograd.grad(gallery_softmax(queries, gallery, correct, admitted), queries)
    for i in range(3):
        alone = gallery_softmax(queries[i : i + 1], gallery, correct[i : i + 1], admitted[i : i + 1])
        (gradient,) = torch.autograd.grad(alone, queries)
        torch.testing.assert_close(gradient[i], together[i])
