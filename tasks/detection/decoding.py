"""From what a network says of its priors to the objects it has found."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.detection.boxes import decode_offsets, iou

SCORE = 0.01
"""Lowest score that is looked at."""
OVERLAP = 0.45
"""Of two boxes of one class that overlap by more than this, the one with the higher score stays."""
TOP = 400
"""Boxes of a class, by score, that go into the suppression."""
KEEP = 200
"""Boxes of an image, by score, that are reported."""


@dataclass(frozen=True)
class Found:
    """The objects found in one image, by falling score: corners in [0, 1] [k, 4], scores [k], labels int64 [k]."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


@torch.no_grad()
def decode(
    offsets: Tensor,
    logits: Tensor,
    priors: Tensor,
    *,
    score: float = SCORE,
    overlap: float = OVERLAP,
    top: int = TOP,
    keep: int = KEEP,
) -> list[Found]:
    """Boxes by class, without duplicates; the defaults are those of the published SSD and DSSD.

    A prior may be reported for several classes. Boxes are clipped to the image before they are compared (SSD's release
    compares them unclipped); one that lies outside is dropped, and so is one with a prediction that is not a number.

    Parameters
    ----------
    offsets:
        [N, P, 4].
    logits:
        [N, P, C + 1]; column 0 is the background.
    priors:
        (cx, cy, w, h), [P, 4].
    score, overlap, top, keep:
        See `SCORE`, `OVERLAP`, `TOP` and `KEEP`.

    Returns
    -------
    list of Found
        One per image.

    Raises
    ------
    ValueError
        Shapes that do not belong together.

    Examples
    --------
    Two priors see one object; the second is less sure and gives way.

    >>> priors = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.4, 0.44]])
    >>> logits = torch.tensor([[[0.0, 3.0], [0.0, 2.0]]])
    >>> decode(torch.zeros(1, 2, 4), logits, priors)[0].scores
    tensor([0.9526])
    """
    if offsets.shape != (*logits.shape[:2], 4) or logits.ndim != 3 or priors.shape != (logits.shape[1], 4):
        raise ValueError(
            "offsets, logits and priors must have shapes [N, P, 4], [N, P, classes + 1] and [P, 4], "
            f"got {list(offsets.shape)}, {list(logits.shape)} and {list(priors.shape)}"
        )
    scores = logits.float().softmax(dim=-1)[..., 1:]
    boxes = decode_offsets(offsets.float(), priors).clamp(0, 1)
    return [_one_image(some, sure, score, overlap, top, keep) for some, sure in zip(boxes, scores, strict=True)]


def _one_image(boxes: Tensor, scores: Tensor, score: float, overlap: float, top: int, keep: int) -> Found:
    """Boxes [P, 4], scores [P, C]."""
    real = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    admitted = (scores > score) & real[:, None]
    most = min(top, int(admitted.sum(dim=0).max()))  # few are: the comparison of all pairs is what costs
    rows = _best(scores, admitted, most)  # [most, C]
    best = scores.gather(0, rows)
    classes = torch.arange(scores.shape[1], device=scores.device).expand_as(rows)
    stays = keep_best(boxes[rows.T], admitted.gather(0, rows).T, overlap).T  # all classes at once
    rows, classes, best = rows[stays], classes[stays], best[stays]
    order = (
        rows * scores.shape[1] + classes
    ).argsort()  # of equal scores the lower prior, then the lower class, is first
    order = order[best[order].argsort(descending=True, stable=True)][:keep]
    return Found(boxes[rows[order]], best[order], classes[order])


def _best(scores: Tensor, admitted: Tensor, most: int) -> Tensor:
    """Rows of the best admitted scores of every class, [most, C], falling; equal scores by rising row.

    `topk` leaves the order of equals open, and devices differ in it. Here no two keys are equal: the bits of a score,
    which rise with it as it is not negative, stand above the row's.
    """
    count = len(scores)
    rows = torch.arange(count, device=scores.device)[:, None]
    bits = torch.where(admitted, scores, 0.0).view(torch.int32).long()
    keys = torch.where(admitted, bits, -1) * 2**32 + (count - 1 - rows)
    return keys.topk(most, dim=0).indices


def keep_best(boxes: Tensor, admitted: Tensor, overlap: float) -> Tensor:
    """Greedy non-maximum suppression of several lists at once.

    Parameters
    ----------
    boxes:
        Corners [C, k, 4], each list by falling score.
    admitted:
        Which of them take part, bool [C, k].
    overlap:
        A box goes when one before it that stays overlaps it by more than this.

    Returns
    -------
    Tensor
        Which stay, bool [C, k].

    Examples
    --------
    The first removes the second, which therefore cannot remove the third.

    >>> row = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.0, 0.3, 1.0, 1.3], [0.0, 0.6, 1.0, 1.6]]])
    >>> keep_best(row, torch.ones(1, 3, dtype=torch.bool), 0.45)
    tensor([[ True, False,  True]])
    """
    count = boxes.shape[1]
    earlier = torch.ones(count, count, dtype=torch.bool, device=boxes.device).triu(1)
    beats = (iou(boxes, boxes) > overlap) & earlier  # [C, k, k]: row beats column
    stays = admitted.clone()
    # From a first guess, in which nothing is beaten, each round settles at least one more place of every list for good;
    # chains of boxes that beat each other are short, so that few rounds do.
    while True:
        beaten = (beats & stays[:, :, None]).any(dim=1)
        after = admitted & ~beaten
        if torch.equal(after, stays):
            return stays
        stays = after
