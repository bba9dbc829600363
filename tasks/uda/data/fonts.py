"""Digits rendered from the TrueType faces that matplotlib's package carries: the `font` domain.

Every image is one of 21 faces x 10 digits under a random affine map, in the common frame, with random stroke thickness,
blur and noise, all drawn from one seeded generator: the same seed gives the same images.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tasks.uda.data.frame import SIZE, frame

FACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
"""The carried faces with lining figures.

Left out: cmmi10 (old-style figures), cmex10 and cmsy10 (other symbols at the code points of digits), LastResort (one
placeholder for all), and the display, size and non-Unicode faces (no digits).
"""

_CANVAS = 4 * SIZE  # the glyph masters are drawn at four times the final resolution
_INK_HEIGHT = 0.7  # of the canvas, at scale 1: leaves room to rotate, scale and shift
_TURNED = 3 * SIZE  # side of a glyph after the affine map, before it is framed
_STROKES = (-3, 1, 3, 5)  # grey erosion (negative) and dilation windows on the canvas; a glyph blends two neighbours
_CHUNK = 1000  # images rendered at once: bounds the memory of the oversampled grid


@lru_cache(maxsize=1)
def glyphs() -> Tensor:
    """The glyph masters, [faces, 10, 64, 64] in [0, 1]: ink centred and scaled to one height, aspect kept."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    masters = [_glyph(folder / f"{face}.ttf", digit) for face in FACES for digit in range(10)]
    return torch.from_numpy(np.stack(masters)).reshape(len(FACES), 10, _CANVAS, _CANVAS)


def _glyph(path: Path, digit: int) -> np.ndarray:
    font = ImageFont.truetype(str(path), 2 * _CANVAS)
    drawing = Image.new("L", (4 * _CANVAS, 4 * _CANVAS))
    ImageDraw.Draw(drawing).text((_CANVAS, _CANVAS), str(digit), font=font, fill=255)
    ink = drawing.crop(drawing.getbbox())
    height = round(_INK_HEIGHT * _CANVAS)
    ink = ink.resize((max(1, round(ink.width * height / ink.height)), height), Image.Resampling.BOX)
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    canvas.paste(ink, ((_CANVAS - ink.width) // 2, (_CANVAS - height) // 2))
    return np.asarray(canvas, dtype=np.float32) / 255


@lru_cache(maxsize=1)
def _stroked() -> Tensor:
    """The masters at each stroke level, [levels, faces * 10, 64, 64]."""
    masters = glyphs().reshape(-1, 1, _CANVAS, _CANVAS)
    levels = []
    for window in _STROKES:
        sign, width = (-1, -window) if window < 0 else (1, window)
        levels.append(sign * F.max_pool2d(sign * masters, width, stride=1, padding=width // 2))
    return torch.stack(levels).squeeze(2)


def render(labels: Tensor, *, generator: torch.Generator) -> Tensor:
    """Render one jittered image per label.

    Parameters
    ----------
    labels:
        Digits, int64 [N].
    generator:
        Draws face, stroke, affine map, blur and noise. A CPU generator.

    Returns
    -------
    Tensor
        Grey images, uint8 [N, 1, 16, 16]; ink is bright.

    Examples
    --------
    >>> images = render(torch.tensor([3, 7]), generator=torch.Generator().manual_seed(0))
    >>> images.shape, images.dtype
    (torch.Size([2, 1, 16, 16]), torch.uint8)
    """
    return torch.cat([_render_chunk(chunk, generator) for chunk in labels.split(_CHUNK)])


def _render_chunk(labels: Tensor, generator: torch.Generator) -> Tensor:
    count = len(labels)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    face = torch.randint(len(FACES), (count,), generator=generator)
    glyph = 10 * face + labels
    level = uniform(0, len(_STROKES) - 1)
    lower = level.long().clamp(max=len(_STROKES) - 2)
    images = torch.lerp(_stroked()[lower, glyph], _stroked()[lower + 1, glyph], (level - lower)[:, None, None])

    angle, shear = uniform(-0.25, 0.25), uniform(-0.25, 0.25)  # radians; x shift per unit of y
    width, height = uniform(0.45, 0.8), uniform(0.7, 0.9)  # of the canvas: nothing is cut; the frame scales it up again
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(count)
    rotation = torch.stack([cos, -sin, sin, cos], dim=1).reshape(count, 2, 2)
    stretch = torch.stack([width, shear * height, zero, height], dim=1).reshape(count, 2, 2)
    # grids are pulled back: output position -> glyph position
    pull = torch.cat([torch.linalg.inv(rotation @ stretch), torch.zeros(count, 2, 1)], dim=2)
    grid = F.affine_grid(pull, [count, 1, _TURNED, _TURNED], align_corners=False)
    images = frame(F.grid_sample(images[:, None], grid, align_corners=False))

    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    blurred = F.conv2d(images, torch.outer(kernel, kernel)[None, None], padding=2)
    images = torch.lerp(images, blurred, uniform(0, 1)[:, None, None, None])
    noise = torch.randn(images.shape, generator=generator) * uniform(0, 0.1)[:, None, None, None]
    return (255 * (images + noise).clamp(0, 1)).round().to(torch.uint8)
