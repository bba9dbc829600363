"""Images with what is in them and what was found, as the report shows them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mtlgrad.compare import checks
from tasks.detection.verdicts import Detections, Truth, judge
from tasks.pictures import png

LEGEND = "white dashes: truth; green, ✓: right at IoU 0.5; orange dashes, ✗: wrong; grey, ○: a difficult object"
"""What the pictures' lines and signs mean."""

Colour = tuple[int, int, int]

RIGHT: Colour = (0, 190, 140)
WRONG: Colour = (255, 120, 20)
NEITHER: Colour = (200, 200, 200)
_WHITE: Colour = (255, 255, 255)
_BLACK: Colour = (0, 0, 0)

_SIDE = 256  # pixels of the longer side of a picture
_DASH = 4
_TEXT = 10

Box = tuple[int, int, int, int]
"""First and last pixel in x and y: left, top, right, bottom, all of them inside."""


def picture(
    image: NDArray[np.uint8], *, truth: Truth, found: Detections, classes: Sequence[str], at_least: float = 0.5
) -> dict[str, str]:
    """One image with the true boxes and the detections, right and wrong ones told apart; see `LEGEND`.

    Parameters
    ----------
    image:
        uint8 [height, width, 3].
    truth, found:
        Of this image, in its pixels.
    classes:
        Names, by label.
    at_least:
        Detections with a lower score are left out.

    Returns
    -------
    dict
        `caption`, and `png` in base64, 256 pixels on the longer side.

    Raises
    ------
    ValueError
        Another kind of image; a label without a name; `at_least` out of [0, 1].

    Examples
    --------
    >>> truth = Truth(np.array([[2.0, 2.0, 9.0, 9.0], [8.0, 0.0, 16.0, 8.0]]), np.array([0, 1]), np.array([False] * 2))
    >>> found = Detections(np.array([[2.0, 2.0, 9.0, 8.0]]), np.array([0.9]), np.array([0]))
    >>> picture(np.zeros((16, 16, 3), np.uint8), truth=truth, found=found, classes=["cat", "dog"])["caption"]
    '1 of 2 objects found, 0 wrong'
    """
    checks.number("at_least", at_least, high=1.0)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"image is {image.dtype} {list(image.shape)}; allowed: uint8 [height, width, 3]")
    shown = np.flatnonzero(found.scores >= at_least)
    shown = shown[np.argsort(-found.scores[shown], kind="stable")]
    found = Detections(found.boxes[shown], found.scores[shown], found.labels[shown])
    (right,), (ignored,) = judge([found], [truth], classes=len(classes), thresholds=[0.5])

    canvas, scale = _enlarged(image)
    styles = [_style(*verdict) for verdict in zip(right.tolist(), ignored.tolist(), strict=True)]
    boxes = [_pixels(box, scale, canvas) for box in found.boxes]
    for box, (_, colour, dash) in reversed(list(zip(boxes, styles, strict=True))):  # the surest on top
        _outline(canvas, box, colour, _BLACK if dash else colour, width=3)
    for box in truth.boxes:
        _outline(canvas, _pixels(box, scale, canvas), _WHITE, _BLACK, width=1)
    texts = [
        f"{sign} {classes[label]} {score:.2f}"
        for (sign, _, _), label, score in zip(styles, found.labels.tolist(), found.scores.tolist(), strict=True)
    ]
    canvas = _tagged(canvas, boxes, texts, [colour for _, colour, _ in styles])
    objects, wrong = int((~truth.difficult).sum()), int((~right & ~ignored).sum())
    return {"caption": f"{right.sum()} of {objects} objects found, {wrong} wrong", "png": png(canvas)}


def _style(right: bool, ignored: bool) -> tuple[str, Colour, bool]:
    """Sign, colour, and whether the line is dashed: nobody has to tell green from orange."""
    if right:
        return "✓", RIGHT, False
    return ("○", NEITHER, False) if ignored else ("✗", WRONG, True)


def _enlarged(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The picture without boxes, and what takes x1, y1, x2, y2 there."""
    height, width = image.shape[:2]
    factor = _SIDE / max(height, width)
    size = max(1, round(factor * width)), max(1, round(factor * height))
    canvas = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    return canvas, np.array([size[0] / width, size[1] / height] * 2)


def _pixels(box: NDArray[np.floating], scale: NDArray[np.float64], canvas: NDArray[np.uint8]) -> Box:
    """The pixels at the inner edge of a box, on the canvas."""
    height, width = canvas.shape[:2]
    left, top, right, bottom = (box * scale).round().astype(int).tolist()
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return left, top, min(max(right - 1, left), width - 1), min(max(bottom - 1, top), height - 1)


def _outline(canvas: NDArray[np.uint8], box: Box, colour: Colour, other: Colour, *, width: int) -> None:
    """Draw a box in dashes of two colours, `width` pixels wide and, where that is odd, as far out as in."""
    height, length = canvas.shape[:2]
    for out in range(-(width // 2), width // 2 + 1):
        left, top, right, bottom = box[0] - out, box[1] - out, box[2] + out, box[3] + out
        across, down = np.arange(left, right + 1), np.arange(top, bottom + 1)
        for xs, ys in ((across, top), (across, bottom), (left, down), (right, down)):
            x, y = np.broadcast_arrays(xs, ys)
            inside = (x >= 0) & (x < length) & (y >= 0) & (y < height)
            dash = (x + y - box[0] - box[1]) // _DASH % 2 == 0
            canvas[y[inside], x[inside]] = np.where(dash[inside, None], colour, other)


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), _TEXT)


def _tagged(
    canvas: NDArray[np.uint8], boxes: Sequence[Box], texts: Sequence[str], colours: Sequence[Colour]
) -> NDArray[np.uint8]:
    """With a tag at each box, on no other tag where there is room."""
    drawn = Image.fromarray(canvas)
    drawing = ImageDraw.Draw(drawn)
    taken: list[Box] = []
    for box, text, colour in zip(boxes, texts, colours, strict=True):
        width, height = round(drawing.textlength(text, font=_font())) + 4, _TEXT + 3
        places = [_inside(x, y, width, height, drawn.size) for x, y in _corners(box, width, height)]
        place = next((one for one in places if not any(_meet(one, other) for other in taken)), places[0])
        taken.append(place)
        drawing.rectangle(place, fill=colour, outline=_BLACK)
        drawing.text((place[0] + 2, place[1] + height // 2), text, font=_font(), fill=_BLACK, anchor="lm")
    return np.array(drawn)


def _corners(box: Box, width: int, height: int) -> list[tuple[int, int]]:
    """Where a tag may go, best first: outside above and below, then inside; each on the left, then on the right."""
    left, top, right, bottom = box
    levels = (top - height, bottom + 1, top, bottom - height + 1)
    return [(x, y) for y in levels for x in (left, right - width + 1)]


def _inside(x: int, y: int, width: int, height: int, size: tuple[int, int]) -> Box:
    left, top = max(0, min(x, size[0] - width)), max(0, min(y, size[1] - height))
    return left, top, left + width - 1, top + height - 1


def _meet(first: Box, second: Box) -> bool:
    return all(first[axis] <= second[axis + 2] and second[axis] <= first[axis + 2] for axis in (0, 1))
