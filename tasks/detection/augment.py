"""SSD's training augmentation: photometric distortion, zooming out, sampled crops, mirroring.

As in Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016, section 2.2, and the configuration released with it.
Deviations. All distortions are one affine map of a pixel's colour, clipped once at its end: saturation mixes with
the luminance and hue turns about the grey axis, in place of the detour through HSV. Of the crop's options one is drawn
and tried, and the whole image is its fallback; the release tries all and draws among those that succeed. A crop never
loses every object. Images are resized by one of five filters, as there, but Pillow's, which smooth when they shrink.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mtlgrad.compare.checks import boolean, number
from tasks.detection.verdicts import overlaps

MIN_OVERLAPS = (None, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
"""The crop's options, equally likely: the whole image, or a patch with at least this IoU with some object."""

_LUMINANCE = np.array([0.299, 0.587, 0.114])
_TRIALS = 50  # patches drawn for an option before the whole image is taken
_SCALE = (0.3, 1.0)  # of a patch's area, square-rooted, to the image's
_ASPECT = (0.5, 2.0)
_FILTERS = (
    Image.Resampling.NEAREST,
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)


@dataclass(frozen=True)
class AugmentSettings:
    """How far each distortion may go; each is drawn with probability 1/2, and 0 (expand: 1) turns it off.

    Parameters
    ----------
    brightness:
        Added to all channels: up to this share of the range, either way.
    contrast, saturation:
        Factors from 1 - x to 1 + x.
    hue:
        Degrees, either way. The release's 18 are steps of two degrees, since its hues are 8-bit numbers.
    expand:
        The image is placed on a canvas with sides up to this many times its own, filled with `fill`.
    fill:
        RGB, 0 to 255.
    crop, flip, filters:
        Whether patches are sampled; whether images are mirrored left to right; whether the filter that resizes them is
        drawn (bilinear if not).

    Raises
    ------
    ValueError, TypeError
        An option is out of range or of another type.
    """

    brightness: float = 32 / 255
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 36.0
    expand: float = 4.0
    fill: tuple[int, int, int] = (123, 117, 104)
    crop: bool = True
    flip: bool = True
    filters: bool = True

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            number(name, getattr(self, name), high=1)
        number("hue", self.hue, high=180)
        number("expand", self.expand)
        if self.expand < 1:
            raise ValueError(f"expand={self.expand} is out of range; allowed: a finite number >= 1")
        if len(self.fill) != 3 or not all(isinstance(level, int) and 0 <= level <= 255 for level in self.fill):
            raise ValueError(f"fill={self.fill} is out of range; allowed: three ints from 0 to 255")
        for name in ("crop", "flip", "filters"):
            boolean(name, getattr(self, name))


def augment(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    *,
    size: int,
    rng: np.random.Generator,
    settings: AugmentSettings | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distort, expand, crop, resize and mirror an image together with its boxes.

    Parameters
    ----------
    image:
        uint8 [h, w, 3].
    boxes, labels:
        Corners, [k, 4], in units of the image's sides; int64 [k].
    size:
        Side of the result, pixels.
    rng:
        All that is drawn is drawn here.
    settings:
        None: as published.

    Returns
    -------
    tuple
        Image, uint8 [size, size, 3]; the boxes of the objects whose centres it shows, clipped to it, float32, again in
        units of its sides; their labels. At least one object, where there was one.

    Examples
    --------
    >>> image, boxes = np.zeros((60, 80, 3), np.uint8), np.array([[0.2, 0.2, 0.7, 0.9]])
    >>> image, boxes, labels = augment(image, boxes, np.array([4]), size=32, rng=np.random.default_rng(0))
    >>> image.shape, boxes.shape, labels
    ((32, 32, 3), (1, 4), array([4]))
    """
    settings = settings or AugmentSettings()
    height, width = image.shape[:2]
    colors = _color_map(rng, settings)
    left, top, wide, high = _expanded(rng, settings, width, height)
    corners = boxes.astype(np.float64).reshape(-1, 4) * (width, height, width, height) + (left, top, left, top)
    patch = _sample_patch(rng, corners, wide, high) if settings.crop else (0, 0, wide, high)
    picture = _cut(image, (left, top), patch, colors, settings.fill)
    resample = _FILTERS[rng.integers(len(_FILTERS))] if settings.filters else Image.Resampling.BILINEAR
    picture = picture.resize((size, size), resample)
    x1, y1, x2, y2 = patch
    kept = _centred(corners, np.array([patch]))[0]
    shown = (corners[kept] - (x1, y1, x1, y1)) / (x2 - x1, y2 - y1, x2 - x1, y2 - y1)
    shown = shown.clip(0, 1).astype(np.float32)
    if settings.flip and rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        shown = flip_boxes(shown)
    return np.asarray(picture), shown, labels[kept]


def resize(image: np.ndarray, *, size: int) -> np.ndarray:
    """The whole image at `size` x `size`, uint8; boxes in units of the sides stay as they are.

    >>> resize(np.full((3, 5, 3), 7, np.uint8), size=2).tolist()
    [[[7, 7, 7], [7, 7, 7]], [[7, 7, 7], [7, 7, 7]]]
    """
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def flip_boxes(boxes: np.ndarray) -> np.ndarray:
    """Mirror boxes [k, 4] in units of the image's sides, left to right.

    >>> flip_boxes(np.array([[0.0, 0.25, 0.25, 0.5]])).tolist()
    [[0.75, 0.25, 1.0, 0.5]]
    """
    mirrored = boxes.copy()
    mirrored[:, 0], mirrored[:, 2] = 1 - boxes[:, 2], 1 - boxes[:, 0]
    return mirrored


def _color_map(rng: np.random.Generator, settings: AugmentSettings) -> np.ndarray:
    """The drawn distortions as one affine map of RGB, [3, 4]; the contrast comes before or after the last two."""
    total = np.eye(4)
    if rng.random() < 0.5:
        total[:3, 3] = 255 * rng.uniform(-settings.brightness, settings.brightness)
    contrast = _drawn_factor(rng, settings.contrast) * np.eye(3)
    saturation = _drawn_factor(rng, settings.saturation)
    saturated = saturation * np.eye(3) + (1 - saturation) * _LUMINANCE
    hue = _turned(math.radians(rng.uniform(-settings.hue, settings.hue)) if rng.random() < 0.5 else 0.0)
    first = rng.random() < 0.5
    rest = hue @ saturated @ contrast if first else contrast @ hue @ saturated
    affine: np.ndarray = rest @ total[:3]
    return affine


def _drawn_factor(rng: np.random.Generator, spread: float) -> float:
    return rng.uniform(1 - spread, 1 + spread) if rng.random() < 0.5 else 1.0


def _turned(angle: float) -> np.ndarray:
    """Rotation of RGB about the grey axis, [3, 3]: greys stay, red goes towards green at positive angles."""
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turned: np.ndarray = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return turned


def _expanded(
    rng: np.random.Generator, settings: AugmentSettings, width: int, height: int
) -> tuple[int, int, int, int]:
    """Where the image stands on the canvas (left, top), and the canvas's (width, height)."""
    if rng.random() < 0.5:
        return 0, 0, width, height
    ratio = rng.uniform(1, settings.expand)
    wide, high = round(ratio * width), round(ratio * height)
    return int(rng.integers(wide - width + 1)), int(rng.integers(high - height + 1)), wide, high


def _sample_patch(rng: np.random.Generator, corners: np.ndarray, wide: int, high: int) -> tuple[int, int, int, int]:
    """Corners of a patch of the canvas in whole pixels, under one of the options drawn."""
    option = MIN_OVERLAPS[rng.integers(len(MIN_OVERLAPS))]
    if option is None:
        return 0, 0, wide, high
    scale = rng.uniform(*_SCALE, _TRIALS)
    # an aspect ratio beyond these would not fit into the image
    aspect = rng.uniform(np.maximum(_ASPECT[0], scale**2), np.minimum(_ASPECT[1], scale**-2))
    widths = np.rint(wide * scale * np.sqrt(aspect)).clip(1, wide).astype(np.int64)
    heights = np.rint(high * scale / np.sqrt(aspect)).clip(1, high).astype(np.int64)
    x1, y1 = rng.integers(wide - widths + 1), rng.integers(high - heights + 1)
    patches = np.stack([x1, y1, x1 + widths, y1 + heights], axis=1)
    fitting = (overlaps(patches[:, None], corners) >= option).any(axis=1) & _centred(corners, patches).any(axis=1)
    if not fitting.any():
        return 0, 0, wide, high
    left, top, right, bottom = patches[fitting.argmax()].tolist()
    return left, top, right, bottom


def _centred(corners: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """Whether each patch has each box's centre inside, bool [patches, k]."""
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    inside: np.ndarray = ((centres > patches[:, None, :2]) & (centres < patches[:, None, 2:])).all(axis=2)
    return inside


def _cut(
    image: np.ndarray,
    place: tuple[int, int],
    patch: tuple[int, int, int, int],
    colors: np.ndarray,
    fill: tuple[int, int, int],
) -> Image.Image:
    """The patch of the canvas: the image's part in it with its colours distorted, `fill` around it."""
    (left, top), (x1, y1, x2, y2) = place, patch
    height, width = image.shape[:2]
    rows = slice(max(0, y1 - top), min(height, y2 - top))
    columns = slice(max(0, x1 - left), min(width, x2 - left))
    part = Image.fromarray(np.ascontiguousarray(image[rows, columns])).convert("RGB", tuple(colors.flatten().tolist()))
    if part.size == (x2 - x1, y2 - y1):
        return part
    picture = Image.new("RGB", (x2 - x1, y2 - y1), fill)
    picture.paste(part, (columns.start + left - x1, rows.start + top - y1))
    return picture
