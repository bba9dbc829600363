"""Parts, vocabulary and batches."""

from __future__ import annotations

import pytest
import torch

from tasks.retrieval.data import COUNTS, Encoded, Split, Vocabulary, hold_out, load, queries_by_rule
from tasks.retrieval.scenes import SOURCES_PER_MODIFICATION


def pictures(split: Split, rows: torch.Tensor) -> set[bytes]:
    return {split.images[row].numpy().tobytes() for row in rows.unique()}


def test_default_parts() -> None:
    parts = load(size=16, seed=0)
    base, modifications = COUNTS["default"]["test"]
    assert len(parts.test.images) == base + SOURCES_PER_MODIFICATION * modifications
    _, modifications = COUNTS["default"]["train"]
    assert len(parts.train) + len(parts.validation) == SOURCES_PER_MODIFICATION * modifications
    assert queries_by_rule(full=False) == SOURCES_PER_MODIFICATION * modifications
    assert 0.05 < len(parts.validation) / len(parts.train) < 0.15
    for split in (parts.train, parts.validation, parts.test):
        assert len(split.images) == len(split.scenes)
        assert int(torch.cat([split.sources, split.targets]).max()) < len(split.images)
        wanted, shown = split.scenes[split.targets], split.scenes[split.sources]
        assert not bool((wanted == shown).any())


def test_equal_scenes_are_equal_pictures() -> None:
    test = load(size=16, seed=0).test
    by_scene: dict[int, set[bytes]] = {}
    for scene, image in zip(test.scenes.tolist(), test.images, strict=True):
        by_scene.setdefault(scene, set()).add(image.numpy().tobytes())
    assert all(len(seen) == 1 for seen in by_scene.values())
    assert len(set.union(*by_scene.values())) == len(by_scene)


def test_validation_starts_from_scenes_that_training_never_shows() -> None:
    parts = load(size=16, seed=0)
    trained = pictures(parts.train, torch.cat([parts.train.sources, parts.train.targets]))
    held = pictures(parts.validation, parts.validation.sources)
    # a training target may, rarely, be one of the held base scenes
    assert len(held & trained) <= 1
    assert not pictures(parts.train, parts.train.sources) & held
    assert len(parts.validation.images) == len(torch.cat([parts.validation.sources, parts.validation.targets]).unique())


def test_published_counts() -> None:
    totals = {part: base + 3 * count for part, (base, count) in COUNTS["published"].items()}
    assert totals == {"train": 19_012, "test": 19_057}
    assert [3 * count for _, count in COUNTS["published"].values()] == [18_012, 18_057]


def test_hold_out_keeps_queries_whole() -> None:
    split = load(size=16, seed=0).test
    kept, held = hold_out(split)
    asked = [
        (part.images[source].numpy().tobytes(), text, part.images[target].numpy().tobytes())
        for part in (kept, held)
        for source, text, target in zip(part.sources, part.texts, part.targets, strict=True)
    ]
    whole = [
        (split.images[source].numpy().tobytes(), text, split.images[target].numpy().tobytes())
        for source, text, target in zip(split.sources, split.texts, split.targets, strict=True)
    ]
    assert sorted(asked) == sorted(whole)


def test_hold_out_needs_two_sources() -> None:
    one = Split(torch.zeros(2, 3, 16, 16), torch.arange(2), torch.tensor([0]), torch.tensor([1]), ("x",))
    with pytest.raises(ValueError, match="1 source images; allowed: at least 2"):
        hold_out(one)


def test_vocabulary_covers_the_test_texts() -> None:
    parts = load(size=16, seed=0)
    vocabulary = Vocabulary(parts.train.texts)
    encoded = Encoded.of(parts.test, vocabulary, torch.device("cpu"))
    assert not bool((encoded.tokens == 1).any())  # no unknown word
    for text, row, length in zip(parts.test.texts, encoded.tokens, encoded.lengths, strict=True):
        assert int(length) == len(text.split())
        assert bool((row[:length] > 1).all())
        assert not bool(row[length:].any())
    with pytest.raises(ValueError, match="at least one word"):
        vocabulary.encode(["add", "?!"])
