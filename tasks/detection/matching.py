"""Which prior answers for which object."""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.detection.boxes import iou

THRESHOLD = 0.5
"""A prior that overlaps an object by more than this answers for it, beside the prior that does so best."""


def match(boxes: Tensor, priors: Tensor) -> Tensor:
    """For every prior the object that it answers for, or -1; Liu et al. 2016, section 2.2.

    First each object gets a prior of its own: of all pairs the one with the largest overlap is taken, object and prior
    leave the race, and so on, as long as anything overlaps. Then every prior still free answers for the object that it
    overlaps most, if by more than `THRESHOLD` (the released code: or by just that).

    Parameters
    ----------
    boxes:
        Corners of the objects, [k, 4]; k may be 0.
    priors:
        Corners of the priors, [P, 4].

    Returns
    -------
    Tensor
        int64 [P], rows of `boxes` or -1.

    Examples
    --------
    The first two priors fit the first object well; the third has to do for the second object, the last for none.

    >>> priors = torch.tensor([[0.0, 0.0, 0.5, 0.4], [0.0, 0.0, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9], [0.6, 0.0, 0.9, 0.4]])
    >>> match(torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.8, 0.8, 1.0, 1.0]]), priors)
    tensor([ 0,  0,  1, -1])
    """
    answers = torch.full((len(priors),), -1, dtype=torch.int64, device=priors.device)
    if not len(boxes):
        return answers
    overlaps = iou(boxes, priors)
    best, nearest = overlaps.max(dim=0)
    answers = torch.where(best > THRESHOLD, nearest, answers)
    race = overlaps.clone()
    for _ in range(min(overlaps.shape)):
        box, prior = divmod(int(race.argmax()), len(priors))
        if race[box, prior] == 0:
            break
        answers[prior] = box
        race[box], race[:, prior] = -1.0, -1.0
    return answers
