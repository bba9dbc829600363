"""`shapes-voc`: generated scenes of shapes and letters on photographs and textures, with boxes exact to the pixel.

That is, around the ink as it is painted: some scenes are blurred afterwards, like photographs out of focus, and boxes
in them stay where the sharp ink was.

A scene depends on a seed, its part and its number alone. Its one to five things are painted one after the other; each
has a box around all of its ink within the image, also where later things hide it. One hidden by more than 60 % is
flagged difficult, and none is hidden by more than 85 %.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images

from mtlgrad.compare.checks import integer, one_of
from tasks.detection.glyphs import CLASSES, FACES, cover, outline
from tasks.detection.voc import Annotated, write_voc

SCENES_VERSION = 1
"""Counts the changes to what a seed gives; part of the cache folder's name."""

FOLDER = "VOCshapes"
"""The devkit's year folder."""

PARTS = ("train", "val", "test")

# (left, top, right, bottom) of each sample photograph, in shares: no part sees another's backgrounds
_REGIONS = {"train": (0.0, 0.0, 0.55, 1.0), "val": (0.55, 0.0, 1.0, 0.5), "test": (0.55, 0.5, 1.0, 1.0)}
_WIDTHS, _HEIGHTS = (112, 176), (112, 160)
_LENGTHS = (0.14, 0.6)  # of a thing's longer side, to the image's shorter one
_MOST = 5  # things in a scene
_INSIDE = 0.8  # of a thing's ink lies in the image
_VISIBLE, _CLEAR = (
    0.15,
    0.4,
)  # shares of the ink in the image: below the first a scene is not made, the second difficult
_CONTRAST = 80.0  # distance in RGB that four fifths of the pixels beneath a thing keep to its colour
_TRIES = 30  # draws of things before a scene makes do with those it has
_COLORS = 12  # colours drawn for a thing; the most distant serves where none is distant enough


@dataclass(frozen=True)
class Thing:
    """One thing of a scene: which share of each of the image's pixels is its ink, uint8 [h, w], and its look."""

    label: int
    ink: np.ndarray
    color: tuple[int, int, int]
    opacity: float

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Around all pixels with any ink, continuous corners (x1, y1, x2, y2)."""
        columns, rows = (np.flatnonzero(self.ink.any(axis=axis)) for axis in (0, 1))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

    def paint(self, canvas: np.ndarray) -> np.ndarray:
        """The canvas, float32 [h, w, 3], with this thing on it."""
        x1, y1, x2, y2 = self.box
        painted = canvas.copy()
        part = painted[y1:y2, x1:x2]
        share = (self.opacity / 255 * self.ink[y1:y2, x1:x2].astype(np.float32))[:, :, None]
        part += share * (np.array(self.color, dtype=np.float32) - part)
        return painted


@dataclass(frozen=True)
class Draft:
    """A scene before it is painted. background: float32 [h, w, 3]. blur: radius, pixels. noise: float32 [h, w, 1]."""

    background: np.ndarray
    things: tuple[Thing, ...]
    blur: float
    noise: np.ndarray


def generate(count: int, seed: int, part: str) -> Iterator[Annotated]:
    """The scenes 0 to `count` - 1 of a part, one by one.

    Raises
    ------
    ValueError, TypeError
        A negative `count` or `seed`, an unknown part.

    Examples
    --------
    >>> scene = next(generate(1, seed=0, part="train"))
    >>> scene.name, scene.image.dtype, len(scene.boxes) == len(scene.labels) == len(scene.difficult)
    ('train_000000', dtype('uint8'), True)
    """
    integer("count", count, low=0)
    return (scene(draft(seed, part, index), name=f"{part}_{index:06d}") for index in range(count))


def draft(seed: int, part: str, index: int) -> Draft:
    """Draw the scene with this number."""
    integer("seed", seed, low=0)
    one_of("part", part, PARTS)
    rng = np.random.default_rng([SCENES_VERSION, seed, PARTS.index(part), index])
    width, height = int(rng.integers(*_WIDTHS, endpoint=True)), int(rng.integers(*_HEIGHTS, endpoint=True))
    photographic = rng.random() < 0.5
    background = _photograph(rng, part, width, height) if photographic else _texture(rng, width, height)
    things: tuple[Thing, ...] = ()
    canvas = background
    wanted = int(rng.integers(1, _MOST, endpoint=True))
    for _ in range(_TRIES):
        thing = _thing(rng, canvas)
        if thing is not None and visible((*things, thing)).min() >= _VISIBLE:
            things = (*things, thing)
            canvas = thing.paint(canvas)
        if len(things) == wanted:
            break
    blur = rng.uniform(0.3, 0.8) if rng.random() < 0.3 else 0.0
    noise = rng.uniform(0, 6) * rng.standard_normal((height, width, 1), dtype=np.float32)
    return Draft(background, things, blur, noise)


def scene(draft: Draft, *, name: str) -> Annotated:
    """Paint a scene."""
    canvas = draft.background
    for thing in draft.things:
        canvas = thing.paint(canvas)
    image = Image.fromarray((canvas + draft.noise).clip(0, 255).round().astype(np.uint8))
    if draft.blur:
        image = image.filter(ImageFilter.GaussianBlur(draft.blur))
    boxes = np.array([thing.box for thing in draft.things], dtype=np.float32)
    labels = np.array([thing.label for thing in draft.things], dtype=np.int64)
    return Annotated(name, np.asarray(image), boxes, labels, visible(draft.things) < _CLEAR)


def visible(things: tuple[Thing, ...]) -> np.ndarray:
    """Which share of each thing's ink in the image the later ones leave to see, float64 [k]."""
    shares = np.empty(len(things))
    clear = np.ones(things[0].ink.shape, dtype=np.float32)
    for place in reversed(range(len(things))):
        ink = things[place].ink.astype(np.float32)
        shares[place] = (ink * clear).sum() / ink.sum()
        clear *= 1 - ink / 255
    return shares


def _thing(rng: np.random.Generator, canvas: np.ndarray) -> Thing | None:
    """A thing that stands out from the canvas; None if less of it than allowed came to lie inside."""
    height, width = canvas.shape[:2]
    label = int(rng.integers(len(CLASSES)))
    glyph = CLASSES[label] in ("letter-k", "digit-8")
    ring = None if glyph or rng.random() < 0.6 else rng.uniform(0.55, 0.78)
    face = FACES[rng.integers(len(FACES))]
    turn = rng.uniform(-0.6, 0.6) if glyph else rng.uniform(-math.pi, math.pi)
    stretch = math.exp(rng.uniform(-0.35, 0.35))
    length = min(width, height) * math.exp(rng.uniform(*np.log(_LENGTHS)))
    mask = cover(outline(CLASSES[label], face, ring), turn=turn, stretch=stretch, length=length)
    high, wide = mask.shape
    # a little over the edge is allowed
    left, top = (round(rng.uniform(-0.2 * side, room - 0.8 * side)) for side, room in ((wide, width), (high, height)))
    whole = Image.new("L", (width, height))
    whole.paste(Image.fromarray(mask), (left, top))
    ink = np.asarray(whole)
    if ink.sum(dtype=np.int64) < _INSIDE * mask.sum(dtype=np.int64):
        return None
    return Thing(label, ink, _color(rng, canvas[ink > 127]), rng.uniform(0.85, 1.0))


def _color(rng: np.random.Generator, beneath: np.ndarray) -> tuple[int, int, int]:
    """A colour far from the pixels [n, 3] beneath."""
    colors = rng.integers(0, 256, size=(_COLORS, 3))
    beneath = beneath[:: max(1, len(beneath) // 100)]
    distances = np.sqrt(((colors[:, None] - beneath[None]) ** 2).sum(axis=2))
    near = np.sort(distances, axis=1)[:, len(beneath) // 5]
    chosen = int(np.argmax(near >= _CONTRAST)) if (near >= _CONTRAST).any() else int(near.argmax())
    red, green, blue = colors[chosen].tolist()
    return red, green, blue


@lru_cache(maxsize=len(PARTS))
def _photographs(part: str) -> tuple[Image.Image, ...]:
    """The sample photographs' regions that are this part's."""
    whole = [Image.fromarray(image) for image in load_sample_images().images]
    left, top, right, bottom = _REGIONS[part]
    return tuple(
        one.crop((int(left * one.width), int(top * one.height), int(right * one.width), int(bottom * one.height)))
        for one in whole
    )


def _photograph(rng: np.random.Generator, part: str, width: int, height: int) -> np.ndarray:
    """A crop of a sample photograph at 0.7 to 1.4 times its scale, mirrored and brightened or darkened at random."""
    photographs = _photographs(part)
    photograph = photographs[rng.integers(len(photographs))]
    scale = min(rng.uniform(0.7, 1.4), photograph.width / width, photograph.height / height)
    # what rounding leaves below 0, or beyond the edge, is the whole width or height
    x = rng.uniform(0, max(0.0, photograph.width - scale * width))
    y = rng.uniform(0, max(0.0, photograph.height - scale * height))
    box = (x, y, min(x + scale * width, photograph.width), min(y + scale * height, photograph.height))
    crop = np.asarray(photograph.resize((width, height), Image.Resampling.BILINEAR, box=box), dtype=np.float32)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    crop = rng.uniform(0.6, 1.2) * crop + rng.uniform(-25, 25)
    return crop.clip(0, 255)


def _texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Two colours mixed along a direction, smoothly or in stripes, under noise of several octaves."""
    first, second = rng.uniform(0, 255, size=(2, 3)).astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    x, y = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    along = (math.cos(angle) * x + math.sin(angle) * y) / max(width, height)
    if rng.random() < 0.5:
        mix = 0.5 + 0.5 * np.sin(2 * math.pi * (rng.uniform(2, 10) * along + rng.random())) * rng.uniform(0.2, 0.7)
    else:
        mix = (along - along.min()) / (along.max() - along.min())
    mixed: np.ndarray = first + mix[:, :, None] * (second - first)
    strength = rng.uniform(10, 45)
    colored = rng.random() < 0.5
    for cells in (3, 6, 12, 24, 48):
        octave = rng.standard_normal((cells, cells, 3 if colored else 1), dtype=np.float32)
        layers = [
            np.asarray(Image.fromarray(octave[:, :, channel]).resize((width, height), Image.Resampling.BICUBIC))
            for channel in range(octave.shape[2])
        ]
        mixed = mixed + strength * np.stack(layers, axis=2)
        strength *= 0.6
    return mixed.clip(0, 255)


def shapes_voc(
    root: Path | str | None = None, *, train: int = 2000, validation: int = 250, test: int = 500, seed: int = 0
) -> Path:
    """The generated devkit on disk, written where it is not there yet.

    Parameters
    ----------
    root:
        The folder that holds devkits, one per choice of what follows; None: mtlgrad in the user's cache folder.
    train, validation, test:
        Scenes in the image sets "train", "val" and "test" of `FOLDER`.
    seed:
        Of all scenes.

    Returns
    -------
    Path
        The devkit: what `tasks.detection.voc.read_voc` takes, with `glyphs.CLASSES`. It is complete: written elsewhere
        and moved here as a whole, so that neither an interruption nor another process at the same work shows.

    Raises
    ------
    ValueError, TypeError
        A count under 1 or a negative seed.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     devkit = shapes_voc(folder, train=2, validation=1, test=1)
    ...     sorted(path.name for path in (devkit / FOLDER / "JPEGImages").iterdir())
    ['test_000000.jpg', 'train_000000.jpg', 'train_000001.jpg', 'val_000000.jpg']
    """
    counts = {"train": train, "validation": validation, "test": test}
    for name, count in counts.items():
        integer(name, count, low=1)
    integer("seed", seed, low=0)
    told = repr((SCENES_VERSION, *counts.items(), seed))
    home = _cache() if root is None else Path(root)
    final = home / f"shapes-voc-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    if final.is_dir():
        return final
    home.mkdir(parents=True, exist_ok=True)
    # beside the final place: only within one file system is a rename all or nothing
    unfinished = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=home))
    try:
        for part, count in zip(PARTS, counts.values(), strict=True):
            write_voc(unfinished / FOLDER, part, generate(count, seed, part), classes=CLASSES)
        _move(unfinished, final)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return final


def _move(unfinished: Path, final: Path) -> None:
    """Into place, unless another process was first."""
    try:
        os.rename(unfinished, final)
    except OSError:
        if not final.is_dir():
            raise


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtlgrad"
