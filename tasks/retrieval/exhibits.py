"""Queries as pictures: the source, what was found first, and what was asked for, side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

SHOWN = 5
"""Images found first that a strip shows."""

_PER_KIND = 2
_SIDE = 96  # pixels of an image in a strip
_BORDER = 4
_NEUTRAL, _RIGHT, _WRONG = (0.75, 0.75, 0.75), (0.1, 0.6, 0.2), (0.8, 0.2, 0.2)


def choose(texts: Sequence[str]) -> Tensor:
    """The first rows of each kind of query, told by the text's first word: the same ones for every run.

    >>> choose(["add a", "add b", "make c", "add d"])
    tensor([0, 1, 2])
    """
    taken: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        of_kind = taken.setdefault(text.split()[0], [])
        if len(of_kind) < _PER_KIND:
            of_kind.append(row)
    return torch.tensor([row for of_kind in taken.values() for row in of_kind])


def strip(
    *, text: str, attacked: bool, rank: int, source: Tensor, found: Tensor, right: Tensor, truth: Tensor
) -> dict[str, str]:
    """One query as an image for the report.

    Parameters
    ----------
    text, attacked, rank:
        Go into the caption; `rank` is that of the first right image.
    source, truth:
        [3, S, S] in [0, 1].
    found, right:
        The images found first, [K, 3, S, S], and which of them are right, bool [K]: framed green, the others red.

    Returns
    -------
    dict
        `caption`, and `png` in base64.
    """
    frames = [_NEUTRAL, *(_RIGHT if one else _WRONG for one in right.tolist()), _NEUTRAL]
    images = [source, *found, truth]
    tiles = [_framed(image.cpu(), color) for image, color in zip(images, frames, strict=True)]
    pixels = (255 * torch.cat(tiles, dim=2)).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    origin = "attacked source" if attacked else "source"
    caption = f"“{text}”: {origin}, first {len(found)} found (target at rank {rank}), target"
    return {"caption": caption, "png": base64.b64encode(buffer.getvalue()).decode("ascii")}


def _framed(image: Tensor, color: tuple[float, float, float]) -> Tensor:
    large = F.interpolate(image[None], size=(_SIDE, _SIDE), mode="nearest")[0]
    side = _SIDE + 2 * _BORDER
    tile = torch.tensor(color)[:, None, None].expand(3, side, side).clone()
    tile[:, _BORDER:-_BORDER, _BORDER:-_BORDER] = large
    return tile
