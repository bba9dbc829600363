"""CSS by rule: scenes of coloured shapes on a 3x3 grid, texts that change one thing, and queries made of both.

The rules follow the "Colour, Shape and Size" set of Vo et al., Composing Text and Image for Image Retrieval, CVPR 2019:
what is not published of them (how scenes are sampled, which shapes have which colours in which part) is decided here
and said so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Part = Literal["train", "test"]

SIZES = ("small", "large")
COLORS = ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")
SHAPES = ("rectangle", "circle", "triangle")
POSITIONS = tuple(f"{row}-{column}" for row in ("top", "middle", "bottom") for column in ("left", "center", "right"))
"""The nine cells, row by row."""

SOURCES_PER_MODIFICATION = 3
"""As published: 1,000 base scenes and 6,004 modifications give 1,000 + 3 * 6,004 training images."""

_THINGS = (2, 5)  # least and most things in a base scene: at least one stays after a removal
_TRIES = 1000  # draws of one modification before the base scenes count as too few


@dataclass(frozen=True)
class Thing:
    """What may stand in a cell.

    >>> str(Thing("small", "red", "circle"))
    'small red circle'
    """

    size: str
    color: str
    shape: str

    def __str__(self) -> str:
        return f"{self.size} {self.color} {self.shape}"


Scene = tuple[Thing | None, ...]
"""What stands in each of the nine cells, in the order of `POSITIONS`."""


def pairs(part: Part) -> frozenset[tuple[str, str]]:
    """The (colour, shape) pairs that occur in a part: half of the 24, none in both parts.

    A pair belongs to "train" where the indices of its colour and its shape add up to an even number. Each shape then
    has four colours in either part, and every colour and every shape occurs in both. Published: that the parts are
    disjoint; not published: the pairs.

    >>> len(pairs("train")), len(pairs("test")), pairs("train") & pairs("test")
    (12, 12, frozenset())
    """
    parity = {"train": 0, "test": 1}[part]
    return frozenset(
        (color, shape) for i, color in enumerate(COLORS) for j, shape in enumerate(SHAPES) if (i + j) % 2 == parity
    )


@dataclass(frozen=True)
class Description:
    """The thing that a text speaks of; None leaves an attribute, or the place, unsaid.

    >>> str(Description(POSITIONS.index("bottom-center"), color="brown"))
    'bottom-center brown object'
    """

    position: int | None
    size: str | None = None
    color: str | None = None
    shape: str | None = None

    def __str__(self) -> str:
        place = None if self.position is None else POSITIONS[self.position]
        return " ".join(word for word in (place, self.size, self.color, self.shape or "object") if word)

    def find(self, scene: Scene) -> int | None:
        """The one cell whose thing fits; None where none or several do."""
        cells = range(len(scene)) if self.position is None else (self.position,)
        fitting = [cell for cell in cells if self._fits(scene[cell])]
        return fitting[0] if len(fitting) == 1 else None

    def _fits(self, thing: Thing | None) -> bool:
        if thing is None:
            return False
        said = ((self.size, thing.size), (self.color, thing.color), (self.shape, thing.shape))
        return all(wanted is None or wanted == found for wanted, found in said)


@dataclass(frozen=True)
class Add:
    """A thing appears in an empty cell.

    >>> str(Add(Thing("large", "red", "circle"), 4))
    'add large red circle to middle-center'
    """

    thing: Thing
    position: int

    def __str__(self) -> str:
        return f"add {self.thing} to {POSITIONS[self.position]}"

    def apply(self, scene: Scene) -> Scene | None:
        """The scene afterwards; None where the cell is taken."""
        return None if scene[self.position] is not None else _put(scene, self.position, self.thing)


@dataclass(frozen=True)
class Remove:
    """The described thing disappears.

    >>> str(Remove(Description(None, color="yellow", shape="triangle")))
    'remove yellow triangle'
    """

    what: Description

    def __str__(self) -> str:
        return f"remove {self.what}"

    def apply(self, scene: Scene) -> Scene | None:
        """The scene afterwards; None where the description does not single out one thing."""
        cell = self.what.find(scene)
        return None if cell is None else _put(scene, cell, None)


@dataclass(frozen=True)
class Change:
    """The described thing gets another size or colour.

    >>> str(Change(Description(7, size="small", color="purple", shape="circle"), "large"))
    'make bottom-center small purple circle large'
    """

    what: Description
    to: str

    def __str__(self) -> str:
        return f"make {self.what} {self.to}"

    def apply(self, scene: Scene) -> Scene | None:
        """The scene afterwards; None where no one thing is singled out, or it is so already."""
        cell = self.what.find(scene)
        thing = None if cell is None else scene[cell]
        if cell is None or thing is None:
            return None
        changed = replace(thing, size=self.to) if self.to in SIZES else replace(thing, color=self.to)
        return None if changed == thing else _put(scene, cell, changed)


Modification = Add | Remove | Change


@dataclass(frozen=True)
class Query:
    """A source scene (index), a text, and the scene that is asked for (index)."""

    source: int
    text: str
    target: int


@dataclass(frozen=True)
class Css:
    """A part: one image is made of each scene; base scenes first, then the target of each query."""

    scenes: tuple[Scene, ...]
    queries: tuple[Query, ...]


def generate(part: Part, *, base: int, modifications: int, seed: int) -> Css:
    """Base scenes, and modifications that each lead from three of them to three new scenes.

    Base scenes hold two to five things. A modification is an addition, a removal or a change with equal chances, drawn
    so that it fits a random base scene; two more that it fits are looked for. No (scene, text) pair occurs twice.

    Parameters
    ----------
    part:
        Decides which colours the shapes may have, before and after a change: see `pairs`.
    base:
        Distinct base scenes.
    modifications:
        Texts. There are 3 * `modifications` queries and base + 3 * `modifications` scenes.
    seed:
        Of every draw. The two parts differ for one seed.

    Raises
    ------
    ValueError
        `base` or `modifications` is less than 1, or there are too few base scenes for so many modifications.

    Examples
    --------
    >>> css = generate("train", base=50, modifications=10, seed=0)
    >>> len(css.scenes), len(css.queries)
    (80, 30)
    """
    for name, value in (("base", base), ("modifications", modifications)):
        if value < 1:
            raise ValueError(f"{name}={value} is out of range; allowed: int >= 1")
    rng = np.random.default_rng([seed, ("train", "test").index(part)])
    allowed = pairs(part)
    distinct: dict[Scene, None] = {}  # in order, unlike a set
    while len(distinct) < base:
        distinct[_draw_scene(allowed, rng)] = None
    scenes = list(distinct)
    sources = scenes.copy()
    queries: list[Query] = []
    asked: set[tuple[int, str]] = set()
    for _ in range(modifications):
        text, steps = _draw_triple(sources, allowed, asked, rng)
        for source, target in steps:
            asked.add((source, text))
            queries.append(Query(source, text, len(scenes)))
            scenes.append(target)
    return Css(tuple(scenes), tuple(queries))


def _draw_triple(
    sources: list[Scene],
    allowed: Collection[tuple[str, str]],
    asked: Collection[tuple[int, str]],
    rng: np.random.Generator,
) -> tuple[str, list[tuple[int, Scene]]]:
    """A text, with three base scenes it fits and where it leads from them."""
    for _ in range(_TRIES):
        order = [int(row) for row in rng.permutation(len(sources))]
        modification = _draw_modification(sources[order[0]], allowed, rng)
        text = str(modification)
        found: list[tuple[int, Scene]] = []
        for row in order:
            target = modification.apply(sources[row])
            if target is not None and _within(target, allowed) and (row, text) not in asked:
                found.append((row, target))
                if len(found) == SOURCES_PER_MODIFICATION:
                    return text, found
    raise ValueError(
        f"base={len(sources)} scenes are too few: no new modification fits {SOURCES_PER_MODIFICATION} of them after "
        f"{_TRIES} tries; allowed: more scenes, or fewer modifications"
    )


def _draw_scene(allowed: Collection[tuple[str, str]], rng: np.random.Generator) -> Scene:
    count = int(rng.integers(_THINGS[0], _THINGS[1] + 1))
    scene: list[Thing | None] = [None] * len(POSITIONS)
    for cell in rng.choice(len(POSITIONS), count, replace=False):
        scene[cell] = _draw_thing(allowed, rng)
    return tuple(scene)


def _draw_thing(allowed: Collection[tuple[str, str]], rng: np.random.Generator) -> Thing:
    color, shape = sorted(allowed)[rng.integers(len(allowed))]
    return Thing(SIZES[rng.integers(len(SIZES))], color, shape)


def _draw_modification(scene: Scene, allowed: Collection[tuple[str, str]], rng: np.random.Generator) -> Modification:
    """One that speaks of `scene`, though it may not fit: a removal may leave open which thing is meant."""
    kind = rng.integers(3)
    if kind == 0:
        empty = [cell for cell, thing in enumerate(scene) if thing is None]
        return Add(_draw_thing(allowed, rng), empty[rng.integers(len(empty))])
    standing = [(cell, thing) for cell, thing in enumerate(scene) if thing is not None]
    cell, thing = standing[rng.integers(len(standing))]
    said = rng.integers(2, size=4).astype(bool)
    what = Description(
        cell if kind == 2 or said[0] else None,  # published changes name the place, published removals do not
        thing.size if said[1] else None,
        thing.color if said[2] else None,
        thing.shape if said[3] else None,
    )
    if kind == 1:
        return Remove(what)
    if rng.integers(2):
        return Change(what, SIZES[1 - SIZES.index(thing.size)])
    others = sorted(color for color, shape in allowed if shape == thing.shape and color != thing.color)
    return Change(what, others[rng.integers(len(others))])


def _within(scene: Scene, allowed: Collection[tuple[str, str]]) -> bool:
    return all((thing.color, thing.shape) in allowed for thing in scene if thing is not None)


def _put(scene: Scene, cell: int, thing: Thing | None) -> Scene:
    return (*scene[:cell], thing, *scene[cell + 1 :])
