"""Box arithmetic against itself undone, and against single boxes."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.detection.boxes import centred, corners, decode_offsets, encode, iou
from tests.tasks.detection import slow
from tests.tasks.detection.random_boxes import random_boxes


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_undoes_what(seed: int) -> None:
    boxes, priors = random_boxes(20, seed), centred(random_boxes(20, seed + 1))
    torch.testing.assert_close(corners(centred(boxes)), boxes)
    torch.testing.assert_close(decode_offsets(encode(boxes, priors), priors), boxes, rtol=1e-4, atol=1e-5)
    one = encode(boxes[3], priors[3])
    torch.testing.assert_close(one.tolist(), slow.encode(boxes[3].tolist(), priors[3].tolist()), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_overlaps_of_all_pairs_are_those_of_single_boxes(seed: int) -> None:
    first, second = random_boxes(6, seed), random_boxes(9, seed + 1)
    expected = [[slow.overlap(a, b) for b in second.tolist()] for a in first.tolist()]
    torch.testing.assert_close(iou(first, second), torch.tensor(expected), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(iou(second, first), iou(first, second).T)
    torch.testing.assert_close(iou(first, first).diagonal(), torch.ones(6))


def test_boxes_without_area_overlap_nothing() -> None:
    flat = torch.tensor([[0.5, 0.5, 0.5, 0.9], [0.2, 0.2, 0.2, 0.2]])
    assert not iou(flat, torch.cat([flat, torch.tensor([[0.0, 0.0, 1.0, 1.0]])])).any()
    assert iou(torch.zeros(0, 4), flat).shape == (0, 2)


def test_wild_offsets_stay_finite() -> None:
    prior = torch.tensor([0.5, 0.5, 0.3, 0.3])
    assert decode_offsets(torch.tensor([1e4, -1e4, 1e4, -1e4]), prior).isfinite().all()
