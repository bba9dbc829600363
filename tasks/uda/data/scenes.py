"""Digits over photographs, by MNIST-M's recipe with jitter of colour and contrast added: the `scene` domain.

MNIST-M (Ganin and Lempitsky, Unsupervised Domain Adaptation by Backpropagation, ICML 2015, section 4.1) takes the
absolute difference of a digit and a patch of a photograph, channel by channel: |patch - digit|. Its photographs are
BSDS500's; here they are those that scikit-learn's and scikit-image's packages carry.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import skimage
import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_images
from torch import Tensor

from tasks.images import read_image

FILES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
"""The colour photographs of scikit-image's package that are used, beside the two of scikit-learn's."""

REGIONS = {"train": (0.0, 0.6), "validation": (0.6, 0.75), "test": (0.75, 1.0)}
"""Which share of each photograph, from left to right, the patches of a part are cut from."""

_SIDES = (16, 48)  # of a patch, pixels of the photograph
_COARSEST = 640  # longer sides of photographs are reduced to this: a patch then shows things and not a blur
_GAIN, _SHIFT, _CONTRAST = 0.25, 0.12, (0.6, 1.4)


def blend(digits: Tensor, *, part: str, generator: torch.Generator) -> Tensor:
    """Blend each digit over a patch of a photograph.

    x = |patch - digit|, then c (g x + s - 1/2) + 1/2, clipped to [0, 1], with a contrast c for each image and a gain g
    and a shift s for each of its channels.

    Parameters
    ----------
    digits:
        Bright ink on black, uint8 [N, 1, S, S].
    part:
        A key of `REGIONS`: parts share no pixel of a photograph.
    generator:
        Draws photographs, patches and jitter. A CPU generator.

    Returns
    -------
    Tensor
        uint8 [N, 3, S, S].

    Examples
    --------
    >>> black = torch.zeros(2, 1, 16, 16, dtype=torch.uint8)
    >>> blend(black, part="test", generator=torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 16, 16])
    """
    count, size = len(digits), digits.shape[-1]
    images = (_patches(count, size, part, generator) - digits.float() / 255).abs()

    def uniform(low: float, high: float, channels: int) -> Tensor:
        return low + (high - low) * torch.rand(count, channels, 1, 1, generator=generator)

    gain, shift = uniform(1 - _GAIN, 1 + _GAIN, 3), uniform(-_SHIFT, _SHIFT, 3)
    images = uniform(*_CONTRAST, 1) * (gain * images + shift - 0.5) + 0.5
    return (255 * images.clamp(0, 1)).round().to(torch.uint8)


def _patches(count: int, size: int, part: str, generator: torch.Generator) -> Tensor:
    """Square patches, float [count, 3, size, size] in [0, 1]."""
    low, high = REGIONS[part]
    photographs = _photographs()
    which = torch.randint(len(photographs), (count,), generator=generator).tolist()
    places = torch.rand(count, 3, generator=generator).tolist()
    patches = []
    for number, (scale, down, across) in zip(which, places, strict=True):
        photograph = photographs[number]
        height, width = photograph.shape[1:]
        first, last = round(low * width), round(high * width)
        side = min(round(_SIDES[0] + scale * (_SIDES[1] - _SIDES[0])), last - first, height)
        top, left = int(down * (height - side + 1)), first + int(across * (last - first - side + 1))
        patch = photograph[None, :, top : top + side, left : left + side]
        patches.append(F.interpolate(patch, size=(size, size), mode="area"))
    return torch.cat(patches)


@lru_cache(maxsize=1)
def _photographs() -> tuple[Tensor, ...]:
    """float [3, H, W] each, in [0, 1]."""
    folder = Path(skimage.__file__).parent / "data"
    pixels = [*load_sample_images().images, *(read_image(folder / name) for name in FILES)]
    found = []
    for image in pixels:
        photograph = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        factor = _COARSEST / max(photograph.shape[1:])
        if factor < 1:
            photograph = F.interpolate(photograph[None], scale_factor=factor, mode="area")[0]
        found.append(photograph)
    return tuple(found)
