"""Matching against the loops that its description says."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.detection.boxes import iou
from tasks.detection.matching import match
from tests.tasks.detection import slow
from tests.tasks.detection.random_boxes import random_boxes


@settings(deadline=None, max_examples=60)
@given(objects=st.integers(0, 5), priors=st.integers(1, 30), seed=st.integers(0, 2**32 - 1))
def test_as_the_loops_have_it(objects: int, priors: int, seed: int) -> None:
    boxes, edges = random_boxes(objects, seed), random_boxes(priors, seed + 1)
    assert match(boxes, edges).tolist() == slow.match(boxes.tolist(), edges.tolist())


@settings(deadline=None, max_examples=40)
@given(objects=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_every_object_that_something_overlaps_is_answered_for(objects: int, seed: int) -> None:
    boxes, edges = random_boxes(objects, seed), random_boxes(40, seed + 1)
    edges = torch.cat([edges, torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(objects, 4)])  # reaches all of them
    assert set(range(objects)) <= set(match(boxes, edges).tolist())


def test_objects_that_want_one_prior_share_by_overlap() -> None:
    # Both overlap the first prior most, the second object more so; the first is left with the second prior, below 0.5.
    boxes = torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.0, 0.0, 0.5, 0.4]])
    edges = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.3, 0.3, 0.9, 0.9], [0.5, 0.5, 1.0, 1.0]])
    assert (iou(boxes, edges).argmax(dim=1) == 0).all()
    assert match(boxes, edges).tolist() == [1, 0, -1]


def test_nothing_to_find() -> None:
    assert match(torch.zeros(0, 4), random_boxes(3, 0)).tolist() == [-1, -1, -1]
    assert match(torch.tensor([[0.9, 0.9, 1.0, 1.0]]), torch.tensor([[0.0, 0.0, 0.5, 0.5]])).tolist() == [-1]


def test_more_than_half_is_asked_of_a_prior_that_is_not_the_best() -> None:
    edges = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.45], [0.0, 0.0, 1.0, 0.55]])
    assert match(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), edges).tolist() == [0, -1, 0]
