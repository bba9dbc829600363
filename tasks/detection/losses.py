"""The two losses of a single-shot detector: where the objects are, and what they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.detection.boxes import corners, encode
from tasks.detection.matching import match

NEGATIVES_PER_POSITIVE = 3


def detection_losses(
    offsets: Tensor, logits: Tensor, priors: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Localisation and classification loss of a batch; Liu et al. 2016, Eqs. 1 to 3, with both weights 1.

    *localisation*: smooth L1 between predicted and wanted offsets, summed over the priors that answer for an object.
    *classification*: cross-entropy, summed over those priors and the hardest of the others, `NEGATIVES_PER_POSITIVE`
    times as many in each image. Both are divided by the number of answering priors in the batch, or by 1 where there
    are none.

    Parameters
    ----------
    offsets:
        Predicted, [N, P, 4].
    logits:
        [N, P, C + 1]; column 0 is the background.
    priors:
        (cx, cy, w, h), [P, 4], in units of the image.
    boxes:
        N times corners [k, 4], in units of the image; k may be 0.
    labels:
        N times int64 [k], from 0 to C - 1.

    Returns
    -------
    dict
        Scalars `localisation` and `classification`, in this order: tasks 1 and 2.

    Raises
    ------
    ValueError, TypeError
        Shapes that do not belong together; labels that are no int64 or out of range; a box that is inverted, without
        area or not finite.

    Examples
    --------
    >>> prior, label = torch.tensor([[0.5, 0.5, 0.5, 0.5]]), torch.tensor([0])
    >>> found = detection_losses(torch.zeros(1, 1, 4), torch.zeros(1, 1, 2), prior, [corners(prior)], [label])
    >>> {name: round(loss.item(), 4) for name, loss in found.items()}
    {'localisation': 0.0, 'classification': 0.6931}
    """
    _check(offsets, logits, priors, boxes, labels)
    wanted, classes = targets(priors, boxes, labels)
    positive = classes > 0
    count = positive.sum().clamp(min=1)
    distance = F.smooth_l1_loss(offsets.float(), wanted, reduction="none").sum(-1)
    surprise = F.cross_entropy(logits.float().flatten(0, 1), classes.flatten(), reduction="none").view_as(classes)
    counted = positive | hard_negatives(surprise.detach(), positive)
    # masked and not gathered: sizes then do not depend on values that live on the device
    return {
        "localisation": torch.where(positive, distance, 0.0).sum() / count,
        "classification": torch.where(counted, surprise, 0.0).sum() / count,
    }


def targets(priors: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """What each prior should say: offsets [N, P, 4], 0 where it answers for nothing, and classes [N, P], 0 there.

    Here class 0 is the background and class c + 1 the label c.
    """
    edges = corners(priors)
    offsets = priors.new_zeros(len(boxes), len(priors), 4)
    classes = torch.zeros(len(boxes), len(priors), dtype=torch.int64, device=priors.device)
    for image, (some, kinds) in enumerate(zip(boxes, labels, strict=True)):
        if not len(some):
            continue
        answers = match(some, edges)
        answering, which = answers >= 0, answers.clamp(min=0)
        offsets[image] = torch.where(answering[:, None], encode(some[which], priors), 0.0)
        classes[image] = torch.where(answering, kinds[which] + 1, 0)
    return offsets, classes


def hard_negatives(losses: Tensor, positive: Tensor) -> Tensor:
    """The priors without an object whose classification loss is largest, `NEGATIVES_PER_POSITIVE` for each one with.

    Parameters
    ----------
    losses:
        [N, P].
    positive:
        bool [N, P]. An image without any contributes no negatives either.

    Returns
    -------
    Tensor
        bool [N, P].

    Examples
    --------
    >>> losses = torch.tensor([[9.0, 1.0, 4.0, 2.0, 3.0]])
    >>> hard_negatives(losses, torch.tensor([[True, False, False, False, False]]))
    tensor([[False, False,  True,  True,  True]])
    """
    race = losses.masked_fill(positive, -torch.inf)
    order = race.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return (rank < NEGATIVES_PER_POSITIVE * positive.sum(dim=1, keepdim=True)) & ~positive


def _check(offsets: Tensor, logits: Tensor, priors: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> None:
    images, count = len(boxes), len(priors)
    if offsets.shape != (images, count, 4):
        raise ValueError(f"offsets must have shape {[images, count, 4]}, got {list(offsets.shape)}")
    if logits.ndim != 3 or logits.shape[:2] != (images, count) or logits.shape[2] < 2:
        raise ValueError(f"logits must have shape [{images}, {count}, classes + 1], got {list(logits.shape)}")
    if len(labels) != images or any(some.shape != (len(kinds), 4) for some, kinds in zip(boxes, labels, strict=False)):
        raise ValueError(
            "boxes must have shape [k, 4] with one label each, "
            f"got {[list(some.shape) for some in boxes]} with {[len(kinds) for kinds in labels]} labels"
        )
    for some, kinds in zip(boxes, labels, strict=True):
        if kinds.dtype != torch.int64:
            raise TypeError(f"labels must be int64, got {kinds.dtype}")
        if not bool(((kinds >= 0) & (kinds < logits.shape[2] - 1)).all()):
            raise ValueError(f"labels must be from 0 to {logits.shape[2] - 2}, got {kinds.tolist()}")
        # asked so that NaN fails too
        if not bool((some[:, 2:] > some[:, :2]).all() & some.isfinite().all()):
            raise ValueError(f"boxes must be finite with x1 < x2 and y1 < y2, got {some.tolist()}")
