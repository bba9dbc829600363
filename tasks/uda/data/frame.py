"""One frame for digits of all domains: cropped to the ink's box, and scaled to a common size.

Without it the margins are most of what tells two domains of digits apart.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIZE = 16
"""Side of a framed digit's image, pixels."""
INK = 14
"""The longer side of the ink's box in it; the rest is margin, the same on both sides."""

_THRESHOLD = 0.25  # of an image's brightest pixel: fainter ones are the edge's blur, or noise
_OVERSAMPLING = 3  # samples averaged per pixel and axis
_CHUNK = 2000  # images at once: bounds the memory of the samples


def frame(images: Tensor) -> Tensor:
    """Crop bright ink on black to its box, and put it, aspect kept, in the middle of a 16x16 image.

    Parameters
    ----------
    images:
        Grey, float [N, 1, H, W] in [0, 1].

    Returns
    -------
    Tensor
        float [N, 1, 16, 16]. The ink's box is 14 pixels on its longer side. An image without ink stays black.

    Examples
    --------
    A bar of 2x4 pixels at the border comes to the middle, 7 pixels wide and 14 high.

    >>> image = torch.zeros(1, 1, 8, 8)
    >>> image[:, :, 4:, :2] = 1.0
    >>> (frame(image)[0, 0] > 0.5).sum(dim=0).tolist()
    [0, 0, 0, 0, 0, 14, 14, 14, 14, 14, 14, 0, 0, 0, 0, 0]
    """
    return torch.cat([_framed(chunk) for chunk in images.split(_CHUNK)])


def _framed(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    ink = images[:, 0] >= _THRESHOLD * images.amax(dim=(1, 2, 3)).clamp(min=1e-6)[:, None, None]
    (top, bottom), (left, right) = _ends(ink.any(dim=2)), _ends(ink.any(dim=1))
    half = torch.maximum(bottom - top, right - left) / 2 * (SIZE / INK)
    # output position -> input position, both from -1 to 1 over the whole image
    pull = torch.zeros(len(images), 2, 3)
    pull[:, 0, 0], pull[:, 0, 2] = 2 * half / width, (left + right) / width - 1
    pull[:, 1, 1], pull[:, 1, 2] = 2 * half / height, (top + bottom) / height - 1
    side = _OVERSAMPLING * SIZE
    grid = F.affine_grid(pull, [len(images), 1, side, side], align_corners=False)
    return F.avg_pool2d(F.grid_sample(images, grid, align_corners=False), _OVERSAMPLING)


def _ends(some: Tensor) -> tuple[Tensor, Tensor]:
    """Where the true entries of each row, bool [N, L], begin and end; all of the row where there is none."""
    length = some.shape[1]
    some = some | ~some.any(dim=1, keepdim=True)
    places = torch.arange(length)
    first = torch.where(some, places, length).amin(dim=1)
    last = torch.where(some, places, -1).amax(dim=1)
    return first.float(), last.float() + 1
