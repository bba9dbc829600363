"""Outlines of the six classes of `shapes-voc`, and the pixels they cover once turned, stretched and scaled."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from matplotlib.path import Path as Outline
from PIL import Image, ImageDraw

CLASSES = ("circle", "square", "triangle", "star", "letter-k", "digit-8")

FACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("-Bold", "-Oblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-BoldItalic")),
    *("STIXGeneralBol", "STIXGeneralBolIta", "cmb10", "cmss10"),
)
"""The faces of matplotlib's package that the glyphs come in: those whose strokes stand being drawn 20 pixels high."""

SAMPLES = 4
"""Per pixel and axis."""

_CHARACTERS = {"letter-k": "K", "digit-8": "8"}
_CORNERS = {"circle": 64, "square": 4, "triangle": 3, "star": 10}
_STAR_WAIST = 0.45  # radius of a star's inner corners to its outer ones


def outline(name: str, face: str, ring: float | None = None) -> list[np.ndarray]:
    """Closed polygons, float [corners, 2], y downwards; painted in this order, alternating ink and hole by orientation.

    Parameters
    ----------
    name:
        One of `CLASSES`.
    face:
        One of `FACES`; of no effect on the four shapes.
    ring:
        Leaves the inside of a shape out, up to this share of its radius; None: filled. Of no effect on glyphs.

    Examples
    --------
    >>> [len(polygon) for polygon in outline("star", FACES[0], ring=0.6)]
    [10, 10]
    """
    if name in _CHARACTERS:
        return list(_glyph(face, _CHARACTERS[name]))
    corners = _CORNERS[name]
    # a square on its side, not its corner: stretching leaves it a rectangle
    first = math.pi / 4 if name == "square" else 0.0
    angles = first + 2 * math.pi * np.arange(corners) / corners
    radii = np.where(np.arange(corners) % 2, _STAR_WAIST, 1.0) if name == "star" else np.ones(corners)
    shape = np.stack([np.sin(angles), -np.cos(angles)], axis=1) * radii[:, None]
    return [shape] if ring is None else [shape, ring * shape[::-1]]


@lru_cache(maxsize=64)
def _glyph(face: str, character: str) -> tuple[np.ndarray, ...]:
    """The largest polygon first: what it encloses comes after it."""
    font = FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"))
    font.set_size(256, 72)
    font.load_char(ord(character))
    polygons = [np.asarray(polygon)[:-1] * (1, -1) for polygon in Outline(*font.get_path()).to_polygons()]
    return tuple(sorted(polygons, key=lambda polygon: -abs(_area(polygon))))


def _area(polygon: np.ndarray) -> float:
    """Signed: its sign is the orientation."""
    x, y = polygon.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def cover(polygons: list[np.ndarray], *, turn: float, stretch: float, length: float) -> np.ndarray:
    """Which share of each pixel is ink, uint8 [h, w] from 0 to 255, without empty rows and columns around.

    Parameters
    ----------
    polygons:
        See `outline`.
    turn:
        Radians, clockwise as seen; after the stretch.
    stretch:
        Width over height, relative to the outline's own.
    length:
        The longer side of the result, pixels; an ink sample further out makes it one more.

    Examples
    --------
    >>> square = [np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])]
    >>> cover(square, turn=0.0, stretch=0.5, length=8.0).shape
    (8, 4)
    """
    widen, cos, sin = math.sqrt(stretch), math.cos(turn), math.sin(turn)
    shear = np.array([[cos * widen, -sin / widen], [sin * widen, cos / widen]])
    placed = [polygon @ shear.T for polygon in polygons]
    low, high = placed[0].min(axis=0), placed[0].max(axis=0)
    scale = SAMPLES * length / (high - low).max()
    sides = [SAMPLES * (math.ceil(side * scale / SAMPLES) + 1) for side in (high - low)]
    drawing = Image.new("L", (sides[0], sides[1]))
    pen = ImageDraw.Draw(drawing)
    ink = _area(placed[0])
    for polygon in placed:
        corners = ((polygon - low) * scale).flatten().tolist()
        pen.polygon(corners, fill=255 if _area(polygon) * ink > 0 else 0)
    small = drawing.reduce(SAMPLES)
    return np.asarray(small.crop(small.getbbox()))
