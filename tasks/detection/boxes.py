"""Boxes: corners and centres, overlap, and the offsets by which a network moves a prior."""

from __future__ import annotations

import torch
from torch import Tensor

VARIANCES = (0.1, 0.2)
"""Units of the offsets of centres and of log sizes: a network's outputs are then of the order of 1."""

_LARGEST_LOG = 4.135  # log(1000 / 16): no decoded box is more than 62 times its prior, whatever the network says


def corners(centres: Tensor) -> Tensor:
    """(cx, cy, w, h) to (x1, y1, x2, y2), [..., 4].

    >>> corners(torch.tensor([0.5, 0.5, 0.5, 0.25])).tolist()
    [0.25, 0.375, 0.75, 0.625]
    """
    middle, half = centres[..., :2], centres[..., 2:] / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def centred(boxes: Tensor) -> Tensor:
    """(x1, y1, x2, y2) to (cx, cy, w, h), [..., 4]: undoes `corners`.

    >>> centred(torch.tensor([0.25, 0.375, 0.75, 0.625])).tolist()
    [0.5, 0.5, 0.5, 0.25]
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every box of one set with every box of another.

    Parameters
    ----------
    first, second:
        Corners, [..., a, 4] and [..., b, 4]. A box without area overlaps nothing.

    Returns
    -------
    Tensor
        [..., a, b] in [0, 1].

    Examples
    --------
    >>> iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0], [2.0, 0.0, 4.0, 2.0]]))
    tensor([[0.3333, 0.0000]])
    """
    a, b = first[..., :, None, :], second[..., None, :, :]
    overlap = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - overlap
    return torch.where(union > 0, overlap / union, 0.0)


def encode(boxes: Tensor, priors: Tensor) -> Tensor:
    """Offsets that lead from priors to boxes; Liu et al. 2016, Eq. 2, in units of `VARIANCES`.

    Parameters
    ----------
    boxes:
        Corners [..., 4], of positive width and height.
    priors:
        (cx, cy, w, h) [..., 4], of positive width and height.

    Returns
    -------
    Tensor
        [..., 4]: ((cx, cy) - prior's) / prior's size / 0.1, then log(size / prior's size) / 0.2.

    Examples
    --------
    >>> encode(torch.tensor([0.25, 0.25, 0.75, 0.75]), torch.tensor([0.5, 0.25, 0.5, 0.5])).tolist()
    [0.0, 5.0, 0.0, 0.0]
    """
    there = centred(boxes)
    move = (there[..., :2] - priors[..., :2]) / priors[..., 2:] / VARIANCES[0]
    grow = (there[..., 2:] / priors[..., 2:]).log() / VARIANCES[1]
    return torch.cat([move, grow], dim=-1)


def decode_offsets(offsets: Tensor, priors: Tensor) -> Tensor:
    """Corners [..., 4] of the boxes to which offsets lead from priors: undoes `encode`.

    >>> prior = torch.tensor([0.5, 0.5, 0.5, 0.5])
    >>> decode_offsets(torch.zeros(4), prior).tolist()
    [0.25, 0.25, 0.75, 0.75]
    """
    middle = priors[..., :2] + VARIANCES[0] * offsets[..., :2] * priors[..., 2:]
    size = priors[..., 2:] * (VARIANCES[1] * offsets[..., 2:]).clamp(max=_LARGEST_LOG).exp()
    return corners(torch.cat([middle, size], dim=-1))
