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


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_features_that_differ_by_rounding_rank_last(data: st.DataObject) -> None:
    """A gallery of one feature, each copy off by a rounding error: the position must not win the race."""
    width, count = data.draw(st.integers(1, 40)), data.draw(st.integers(3, 40))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    feature = torch.randn(width, generator=generator, dtype=dtype)
    noise = torch.randint(-1, 2, (count, width), generator=generator) * torch.finfo(dtype).eps / 2
    gallery = feature.repeat(count, 1) * (1 + noise)
    wanted = torch.arange(1, count)
    queries = torch.randn(1, width, generator=generator, dtype=dtype).repeat(count - 1, 1)
    sources = torch.zeros(count - 1, dtype=torch.int64)
    found = ranks(queries, gallery, wanted=wanted, scenes=torch.arange(count), sources=sources)
    assert found.tolist() == [count - 1] * (count - 1)


def test_one_feature_repeated_ranks_last_wherever_the_wanted_one_stands() -> None:
    feature = torch.tensor([[1.0, 1.0, 3.0]])
    for wanted in range(1, 5):
        found = ranks(
            feature,
            feature.repeat(5, 1),
            wanted=torch.tensor([wanted]),
            scenes=torch.arange(5),
            sources=torch.tensor([0]),
        )
        assert found.tolist() == [4]


def test_differences_beyond_rounding_are_no_ties() -> None:
    angles = 1 + torch.arange(6) * 1e-5  # cosines with the query differ by 8e-6
    gallery = torch.stack([angles.cos(), angles.sin()], dim=1)
    found = ranks(
        torch.tensor([[1.0, 0.0]] * 5),
        gallery,
        wanted=torch.arange(1, 6),
        scenes=torch.arange(6),
        sources=torch.zeros(5, dtype=torch.int64),
    )
    assert found.tolist() == [1, 2, 3, 4, 5]


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
