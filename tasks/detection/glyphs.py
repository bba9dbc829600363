"""Outlines of the six classes of `shapes-voc`, and the pixels they cover once turned, stretched and scaled."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from matplotlib.path import Path as Outline

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
    """Closed polygons, float [corners, 2], y downwards: ink is what they wind around, and holes turn the other way.

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
    font = FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"))
    font.set_size(256, 72)
    font.load_char(ord(character))
    return tuple(np.asarray(polygon)[:-1] * (1, -1) for polygon in Outline(*font.get_path()).to_polygons())


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
        The longer side, pixels; the result's is rounded up.

    Examples
    --------
    >>> square = [np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])]
    >>> cover(square, turn=0.0, stretch=0.5, length=8.0).shape
    (8, 4)
    """
    widen, cos, sin = math.sqrt(stretch), math.cos(turn), math.sin(turn)
    shear = np.array([[cos * widen, -sin / widen], [sin * widen, cos / widen]])
    placed = [polygon @ shear.T for polygon in polygons]
    corners = np.concatenate(placed)
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = SAMPLES * length / (high - low).max()
    wide, tall = (SAMPLES * math.ceil(side * scale / SAMPLES) for side in (high - low).tolist())
    ink = winding([(polygon - low) * scale for polygon in placed], wide, tall) != 0
    shares = ink.reshape(tall // SAMPLES, SAMPLES, wide // SAMPLES, SAMPLES).mean(axis=(1, 3))
    rows, columns = (np.flatnonzero(shares.any(axis=axis)) for axis in (1, 0))
    kept = shares[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    mask: np.ndarray = (255 * kept).round().astype(np.uint8)
    return mask


def winding(polygons: list[np.ndarray], width: int, height: int) -> np.ndarray:
    """How often the polygons wind around the centre of each sample, int64 [height, width]; 0 is outside.

    >>> winding([np.array([[1.0, 0.0], [3.0, 0.0], [3.0, 1.0], [1.0, 1.0]])], 4, 2).tolist()
    [[0, -1, -1, 0], [0, 0, 0, 0]]
    """
    starts = np.concatenate(polygons)
    ends = np.concatenate([np.roll(polygon, -1, axis=0) for polygon in polygons])
    lines = np.arange(height) + 0.5
    line, edge = np.nonzero((starts[:, 1] <= lines[:, None]) != (ends[:, 1] <= lines[:, None]))
    (x, y), (across, down) = starts[edge].T, (ends - starts)[edge].T
    crossing = x + across * (lines[line] - y) / down
    # all samples right of a crossing lie on the edge's other side
    change = np.zeros((height, width + 1), dtype=np.int64)
    np.add.at(change, (line, np.ceil(crossing - 0.5).clip(0, width).astype(int)), np.sign(down).astype(int))
    return change.cumsum(axis=1)[:, :width]
