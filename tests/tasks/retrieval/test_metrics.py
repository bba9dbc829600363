"""Ranks and recall against counting by hand, ties included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.retrieval import metrics
from tasks.retrieval.metrics import ranks, recall, similarities


def by_hand(query: list[float], gallery: list[list[float]], wanted: int, scenes: list[int], source: int) -> int:
    """The worst place, over all orders of equally similar images, of the best right image."""
    scored = [
        (sum(a * b for a, b in zip(query, image, strict=True)), scene == wanted)
        for place, (image, scene) in enumerate(zip(gallery, scenes, strict=True))
        if place != source
    ]
    worst_first = sorted(scored, key=lambda one: (-one[0], one[1]))  # among equals, wrong ones come first
    return 1 + [right for _, right in worst_first].index(True)


# Few directions of equal length: similarities are exact, and ties abound.
DIRECTIONS = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_ranks_with_ties(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 12))
    directions = st.sampled_from(DIRECTIONS)
    gallery = data.draw(st.lists(directions, min_size=count, max_size=count))
    scenes = data.draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    queries, wanted, sources = [], [], []
    for _ in range(data.draw(st.integers(1, 7))):
        source = data.draw(st.integers(0, count - 1))
        others = [scene for place, scene in enumerate(scenes) if place != source]
        queries.append(data.draw(directions))
        wanted.append(data.draw(st.sampled_from(others)))
        sources.append(source)
    found = ranks(
        3 * torch.tensor(queries),  # of any length
        torch.tensor(gallery),
        wanted=torch.tensor(wanted),
        scenes=torch.tensor(scenes),
        sources=torch.tensor(sources),
    )
    assert found.tolist() == [
        by_hand(query, gallery, want, scenes, source)
        for query, want, source in zip(queries, wanted, sources, strict=True)
    ]


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (torch.randn(count, 4, generator=generator) for count in (23, 40))
    scenes = torch.arange(40) % 9
    sources = torch.arange(23)
    labels = {"wanted": (scenes[:23] + 1) % 9, "scenes": scenes, "sources": sources}
    whole = ranks(queries, gallery, **labels)
    monkeypatch.setattr(metrics, "_BLOCK", 5)
    assert torch.equal(ranks(queries, gallery, **labels), whole)


def test_the_source_is_out_of_the_race() -> None:
    gallery = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    labels = {"wanted": torch.tensor([6]), "scenes": torch.tensor([5, 6, 7])}
    assert ranks(gallery[:1], gallery, sources=torch.tensor([0]), **labels).tolist() == [1]
    assert ranks(gallery[:1], gallery, sources=torch.tensor([2]), **labels).tolist() == [2]
    assert similarities(gallery[:1], gallery, torch.tensor([0]))[0, 0] == -torch.inf


@pytest.mark.parametrize("value", [1.0, 0.0, float("nan")])
def test_collapsed_features_rank_last(value: float) -> None:
    same = torch.full((6, 3), value)
    found = ranks(
        same[:2],
        same,
        wanted=torch.tensor([1, 2]),
        scenes=torch.arange(6),
        sources=torch.tensor([0, 0]),
    )
    assert found.tolist() == [5, 5]  # five images beside the source


def test_recall_counts() -> None:
    generator = torch.Generator().manual_seed(0)
    found = torch.randint(1, 150, (200,), generator=generator)
    for count, share in recall(found).items():
        assert share == pytest.approx(100 * sum(rank <= count for rank in found.tolist()) / 200)
    assert list(recall(found)) == [1, 5, 10, 50, 100]


def test_a_query_without_an_answer() -> None:
    with pytest.raises(ValueError, match=r"wanted\[1\]=3 is a scene that no image but the source shows"):
        ranks(
            torch.eye(2),
            torch.eye(2),
            wanted=torch.tensor([3, 3]),
            scenes=torch.tensor([2, 3]),
            sources=torch.tensor([0, 1]),
        )
