"""Queries as pictures: the source, what was found first, and what was asked for, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.pictures import png

SHOWN = 5
"""Images found first that a picture shows."""

_SIDE = 96  # pixels of a tile without its frame
_FRAME = 4
_NEUTRAL, _RIGHT, _WRONG = (0.75, 0.75, 0.75), (0.1, 0.6, 0.2), (0.8, 0.2, 0.2)


@dataclass(frozen=True)
class Answer:
    """What one source image led to.

    source: [3, S, S] in [0, 1]. found: the images found first, [SHOWN, 3, S, S]. right: which of them are, bool
    [SHOWN]. rank: where the first right one of all was found, from 1.
    """

    source: Tensor
    found: Tensor
    right: Tensor
    rank: int


def choose(texts: Sequence[str]) -> Tensor:
    """The first query of each kind, told by the text's first word: the same rows for every run.

    >>> choose(["add a", "add b", "make c", "add d"])
    tensor([0, 2])
    """
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        first.setdefault(text.split()[0], row)
    return torch.tensor(list(first.values()))


def picture(*, clean: Answer, attacked: Answer, target: Tensor) -> dict[str, str]:
    """Two rows of tiles, clean above attacked: source, what was found (framed green if right, red if not), target.

    Parameters
    ----------
    clean, attacked:
        From the source image as it is and as the attack left it.
    target:
        [3, S, S] in [0, 1].

    Returns
    -------
    dict
        `caption`, and `png` in base64.
    """
    pixels = torch.cat([_row(answer, target) for answer in (clean, attacked)], dim=1)
    caption = f"rank of the target: {clean.rank} clean, {attacked.rank} attacked"
    return {"caption": caption, "png": png((255 * pixels).round().to(torch.uint8).permute(1, 2, 0).numpy())}


def _row(answer: Answer, target: Tensor) -> Tensor:
    frames = [_NEUTRAL, *(_RIGHT if right else _WRONG for right in answer.right.tolist()), _NEUTRAL]
    images = [answer.source, *answer.found, target]
    return torch.cat([_tile(image.cpu(), frame) for image, frame in zip(images, frames, strict=True)], dim=2)


def _tile(image: Tensor, frame: tuple[float, float, float]) -> Tensor:
    side = _SIDE + 2 * _FRAME
    tile = torch.tensor(frame)[:, None, None].expand(3, side, side).clone()
    tile[:, _FRAME:-_FRAME, _FRAME:-_FRAME] = F.interpolate(image[None], size=(_SIDE, _SIDE), mode="nearest")[0]
    return tile
