"""The rules of CSS-2D, judged by a reader of the texts that shares no code with their writer."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.retrieval.scenes import (
    COLORS,
    POSITIONS,
    SHAPES,
    SIZES,
    SOURCES_PER_MODIFICATION,
    Css,
    Description,
    Remove,
    Scene,
    Thing,
    generate,
    pairs,
)

PLACE = r"(?P<place>(?:top|middle|bottom)-(?:left|center|right))"
WHAT = rf"(?:(?P<size>{'|'.join(SIZES)}) )?(?:(?P<color>{'|'.join(COLORS)}) )?(?P<shape>{'|'.join(SHAPES)}|object)"
FORMS = {
    "add": rf"add {WHAT} to {PLACE}",
    "remove": rf"remove (?:{PLACE} )?{WHAT}",
    "make": rf"make {PLACE} {WHAT} (?P<to>{'|'.join((*SIZES, *COLORS))})",
}


def follow(text: str, scene: Scene) -> Scene:
    """What the text, read word by word, makes of the scene; asserts that it can be meant in one way only."""
    match = re.fullmatch(FORMS[text.split()[0]], text)
    assert match is not None, text
    said = match.groupdict()
    cells = dict(zip(POSITIONS, scene, strict=True))
    if text.startswith("add"):
        assert cells[said["place"]] is None
        cells[said["place"]] = Thing(said["size"], said["color"], said["shape"])
        return tuple(cells.values())
    meant = [
        place
        for place, thing in cells.items()
        if thing is not None
        and said["place"] in (None, place)
        and said["size"] in (None, thing.size)
        and said["color"] in (None, thing.color)
        and said["shape"] in ("object", thing.shape)
    ]
    assert len(meant) == 1, (text, scene)
    thing = cells[meant[0]]
    assert thing is not None
    to = said.get("to")
    cells[meant[0]] = (
        None
        if to is None
        else Thing(to, thing.color, thing.shape)
        if to in SIZES
        else Thing(thing.size, to, thing.shape)
    )
    return tuple(cells.values())


def check(css: Css, part: str, base: int, modifications: int) -> None:
    assert len(css.scenes) == base + SOURCES_PER_MODIFICATION * modifications
    assert len(set(css.scenes[:base])) == base
    assert [query.target for query in css.queries] == list(range(base, len(css.scenes)))
    assert len({(query.source, query.text) for query in css.queries}) == len(css.queries)
    for scene in css.scenes[:base]:
        assert 2 <= sum(thing is not None for thing in scene) <= 5
    seen = {(thing.color, thing.shape) for scene in css.scenes for thing in scene if thing is not None}
    assert seen <= pairs(part)  # type: ignore[arg-type]
    for query in css.queries:
        source, target = css.scenes[query.source], css.scenes[query.target]
        assert query.source < base
        assert follow(query.text, source) == target
        assert sum(one != other for one, other in zip(source, target, strict=True)) == 1


@pytest.mark.parametrize("part", ["train", "test"])
def test_thousands_of_queries_keep_the_rules(part: str) -> None:
    css = generate(part, base=300, modifications=1000, seed=11)  # type: ignore[arg-type]
    check(css, part, 300, 1000)
    kinds = Counter(query.text.split()[0] for query in css.queries)
    assert set(kinds) == set(FORMS)
    assert min(kinds.values()) > 0.2 * len(css.queries)
    texts = " ".join(query.text for query in css.queries)
    for word in (*SIZES, *COLORS, *SHAPES, *POSITIONS, "object"):
        assert word in texts


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), part=st.sampled_from(["train", "test"]))
def test_every_seed_keeps_the_rules(seed: int, part: str) -> None:
    check(generate(part, base=60, modifications=10, seed=seed), part, 60, 10)  # type: ignore[arg-type]


def test_parts_share_no_pair_but_every_colour_and_shape() -> None:
    train, test = pairs("train"), pairs("test")
    assert not train & test
    assert train | test == {(color, shape) for color in COLORS for shape in SHAPES}
    for part in (train, test):
        assert {color for color, _ in part} == set(COLORS)
        assert Counter(shape for _, shape in part) == dict.fromkeys(SHAPES, 4)


def test_the_seed_decides() -> None:
    one, again, other = (generate("train", base=50, modifications=20, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.scenes[0] != other.scenes[0]


def test_a_text_that_fits_two_things_is_not_applied() -> None:
    scene: Scene = (Thing("small", "red", "circle"), Thing("large", "red", "circle"), *(None,) * 7)
    assert Remove(Description(None, color="red")).apply(scene) is None
    assert Remove(Description(None, size="large", color="red")).apply(scene) == (scene[0], *(None,) * 8)
    assert Remove(Description(None, color="blue")).apply(scene) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"base": 0}, r"base=0 .*allowed: int >= 1"),
        ({"modifications": 0}, r"modifications=0 .*allowed: int >= 1"),
        ({"base": 2}, r"base=2 scenes are too few"),
    ],
)
def test_errors(changed: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate("train", **{"base": 40, "modifications": 5, "seed": 0, **changed})
