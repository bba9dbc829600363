"""Things on white, drawn small: the images of CSS-2D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tasks.retrieval.scenes import Scene, Thing

RGB = {
    "gray": (87, 87, 87),
    "red": (244, 35, 35),
    "blue": (42, 75, 215),
    "green": (29, 205, 20),
    "brown": (129, 74, 25),
    "purple": (129, 38, 192),
    "cyan": (41, 208, 208),
    "yellow": (255, 238, 51),
}
"""The published colours."""

HALF_SIZE = {"small": 4 / 64, "large": 8 / 64}
"""From a thing's centre to its edge, as a share of the image's side; the published 4 and 8 pixels of 64."""

SHAPES = ("rectangle", "circle", "triangle")

_SAMPLES = 4  # per pixel and axis: what tells a small rectangle from a small circle when a thing is four pixels wide
_EDGE = 1e-6  # a sample on an edge is outside, whichever way its coordinates were rounded


@dataclass(frozen=True)
class Placed:
    """A thing and its centre, (row, column) as shares of the image's side."""

    thing: Thing
    row: float
    column: float


def placed(scene: Scene) -> list[Placed]:
    """The things of a scene at the centres of their cells.

    >>> [(one.row, one.column) for one in placed((None,) * 4 + (Thing("small", "red", "circle"),) + (None,) * 4)]
    [(0.5, 0.5)]
    """
    return [
        Placed(thing, (cell // 3 + 0.5) / 3, (cell % 3 + 0.5) / 3)
        for cell, thing in enumerate(scene)
        if thing is not None
    ]


def render(things: Sequence[Placed], *, size: int) -> np.ndarray:
    """Paint things in order on white, uint8 [3, size, size].

    Shapes are the published ones: a "circle" is in fact a diamond, a triangle stands on its base. Published images are
    64 pixels wide with hard edges; here a pixel takes as much of the colour as the shape covers of it, so that shapes
    stay distinct in smaller images.

    Raises
    ------
    ValueError
        An unknown size, colour or shape; a `size` under 16, where a small thing would be less than two pixels wide.

    Examples
    --------
    >>> image = render([Placed(Thing("large", "gray", "rectangle"), 0.5, 0.5)], size=32)
    >>> image.shape, image[:, 0, 0].tolist(), image[:, 16, 16].tolist()
    ((3, 32, 32), [255, 255, 255], [87, 87, 87])
    """
    if size < 16:
        raise ValueError(f"size={size} is out of range; allowed: int >= 16")
    image = np.full((3, size, size), 255.0, dtype=np.float32)
    for one in things:
        thing = one.thing
        if thing.color not in RGB:
            raise ValueError(f"color={thing.color!r} is unknown; allowed: {tuple(RGB)}")
        cover = _coverage(thing.shape, thing.size, one.row, one.column, size)
        image += cover * (np.array(RGB[thing.color], dtype=np.float32)[:, None, None] - image)
    return image.round().astype(np.uint8)


@lru_cache(maxsize=1024)
def _coverage(shape: str, name: str, row: float, column: float, size: int) -> np.ndarray:
    """Which share of each pixel the shape covers, float32 [size, size]."""
    if name not in HALF_SIZE:
        raise ValueError(f"size={name!r} is unknown; allowed: {tuple(HALF_SIZE)}")
    half = HALF_SIZE[name] - _EDGE
    samples = (np.arange(size * _SAMPLES) + 0.5) / (size * _SAMPLES)
    dy, dx = np.meshgrid(samples - row, samples - column, indexing="ij")
    if shape == "rectangle":
        inside = np.maximum(np.abs(dx), np.abs(dy)) <= half
    elif shape == "circle":
        inside = np.abs(dx) + np.abs(dy) <= half
    elif shape == "triangle":
        inside = (np.abs(dy) <= half) & (2 * np.abs(dx) <= dy + half)  # no width at the apex, 2 half at the base
    else:
        raise ValueError(f"shape={shape!r} is unknown; allowed: {SHAPES}")
    shares: np.ndarray = inside.reshape(size, _SAMPLES, size, _SAMPLES).mean(axis=(1, 3), dtype=np.float32)
    return shares
