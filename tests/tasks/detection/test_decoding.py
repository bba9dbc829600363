"""Decoding and suppression against loops, and the published limits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.detection.boxes import centred, decode_offsets, encode
from tasks.detection.decoding import decode, keep_best
from tests.tasks.detection import slow
from tests.tasks.detection.random_boxes import random_boxes


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), overlap=st.sampled_from([0.1, 0.3, 0.45, 0.7]))
def test_suppression_as_the_loop_has_it(seed: int, overlap: float) -> None:
    boxes, scores = random_boxes(40, seed), torch.rand(40, generator=torch.Generator().manual_seed(seed))
    order = scores.argsort(descending=True)
    stays = keep_best(boxes[order][None], torch.ones(1, 40, dtype=torch.bool), overlap)[0]
    assert order[stays].tolist() == slow.suppress(boxes.tolist(), scores.tolist(), overlap)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_an_image_class_by_class(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    wanted, priors = random_boxes(30, seed), centred(random_boxes(30, seed + 1))
    logits = 2 * torch.randn(1, 30, 4, generator=generator)
    (found,) = decode(encode(wanted, priors)[None], logits, priors, score=0.1)
    scores = logits[0].softmax(dim=-1)[:, 1:]
    expected = []
    for label in range(3):
        rows = [row for row in range(30) if scores[row, label] > 0.1]
        stay = slow.suppress(wanted[rows].tolist(), scores[rows, label].tolist(), 0.45)
        expected += [(float(scores[rows[k], label]), label, rows[k]) for k in stay]
    expected.sort(reverse=True)
    torch.testing.assert_close(found.scores, torch.tensor([score for score, _, _ in expected]))
    assert found.labels.tolist() == [label for _, label, _ in expected]
    torch.testing.assert_close(found.boxes, wanted[[row for _, _, row in expected]], rtol=1e-3, atol=1e-4)


def test_limits() -> None:
    # 50 boxes far from each other, on a grid of their own
    places = torch.stack(torch.meshgrid(torch.arange(10), torch.arange(5), indexing="ij"), dim=-1).reshape(-1, 2) / 10
    priors = torch.cat([places + 0.05, torch.full((50, 2), 0.08)], dim=1)
    logits = torch.stack([torch.zeros(50), torch.linspace(-6, 2, 50)], dim=1)[None]
    everything = decode(torch.zeros(1, 50, 4), logits, priors)[0]
    assert float(everything.scores.min()) > 0.01
    assert len(everything.scores) == int((logits[0].softmax(-1)[:, 1] > 0.01).sum()) < 50
    assert torch.equal(decode(torch.zeros(1, 50, 4), logits, priors, keep=7)[0].scores, everything.scores[:7])
    assert torch.equal(decode(torch.zeros(1, 50, 4), logits, priors, top=9)[0].scores, everything.scores[:9])


def test_a_score_or_an_overlap_of_the_limit_exactly_is_neither_above_nor_more() -> None:
    priors = torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.5, 0.5, 1.0, 1.0]])  # halves of each other: an IoU of 1/2
    logits = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])  # a score of 1/2, and one above
    offsets = torch.zeros(1, 2, 4)
    assert len(decode(offsets, logits, priors, score=0.5, overlap=0.5)[0].scores) == 1
    assert len(decode(offsets, logits, priors, score=0.49, overlap=0.5)[0].scores) == 2
    assert len(decode(offsets, logits, priors, score=0.49, overlap=0.49)[0].scores) == 1


def test_boxes_are_clipped_and_those_outside_are_dropped() -> None:
    priors = torch.tensor([[0.05, 0.5, 0.3, 0.2], [1.4, 0.5, 0.3, 0.2]])
    (found,) = decode(torch.zeros(1, 2, 4), torch.tensor([[[0.0, 3.0], [0.0, 3.0]]]), priors)
    torch.testing.assert_close(found.boxes, torch.tensor([[0.0, 0.4, 0.2, 0.6]]))


def test_nothing_found() -> None:
    (found,) = decode(torch.zeros(1, 3, 4), torch.tensor([[[9.0, 0.0]] * 3]), centred(random_boxes(3, 0)))
    assert found.boxes.shape == (0, 4)
    assert len(found.scores) == len(found.labels) == 0


def test_what_is_not_a_number_is_not_found() -> None:
    priors = centred(random_boxes(3, 0))
    (found,) = decode(torch.full((1, 3, 4), torch.nan), torch.zeros(1, 3, 2), priors)
    assert len(found.scores) == 0
    (found,) = decode(torch.zeros(1, 3, 4), torch.full((1, 3, 2), torch.nan), priors)
    assert len(found.scores) == 0


def test_shapes_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match=r"got \[1, 3, 4\], \[1, 2, 5\] and \[3, 4\]"):
        decode(torch.zeros(1, 3, 4), torch.zeros(1, 2, 5), torch.zeros(3, 4))


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_equal_scores_go_by_prior_then_class(data: st.DataObject) -> None:
    """Few levels of logits: ties abound, between priors and between classes, and inside `top` and `keep`."""
    count, classes = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 3))
    top, keep = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    logits = torch.randint(0, data.draw(st.integers(1, 3)), (1, count, classes + 1), generator=generator).float()
    priors = centred(random_boxes(count, data.draw(st.integers(0, 2**31))))
    (found,) = decode(torch.zeros(1, count, 4), logits, priors, score=0.01, overlap=1.0, top=top, keep=keep)
    scores = logits[0].softmax(dim=-1)[:, 1:]
    expected = []
    for label in range(classes):
        best = sorted((-float(scores[row, label]), row, label) for row in range(count))[:top]
        expected += best  # nothing overlaps by more than 1: nothing is suppressed
    expected = sorted(expected)[:keep]
    assert found.labels.tolist() == [label for _, _, label in expected]
    edges = decode_offsets(torch.zeros(count, 4), priors).clamp(0, 1)
    assert torch.equal(found.boxes, edges[[row for _, row, _ in expected]])


def test_among_equals_the_first_prior_stays() -> None:
    priors = torch.tensor([0.5, 0.5, 0.4, 0.4]).repeat(300, 1) + torch.linspace(0, 0.01, 300)[:, None]
    (found,) = decode(torch.zeros(1, 300, 4), torch.tensor([0.0, 1.0]).repeat(1, 300, 1), priors)
    assert torch.equal(found.boxes, decode_offsets(torch.zeros(1, 4), priors[:1]))
