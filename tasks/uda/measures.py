"""What a run tells of its data and of its predictions beside the plain share that is right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tasks.uda.data import Domain


def class_accuracy(predicted: Tensor, labels: Tensor) -> float:
    """The mean, over the classes that `labels` [N] has, of the percent of a class that is predicted right.

    >>> class_accuracy(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 2]))
    50.0
    """
    right = (predicted == labels).double()
    return 100 * torch.stack([right[labels == kind].mean() for kind in labels.unique()]).mean().item()


def sizes(domains: Iterable[Domain]) -> dict[str, Any]:
    """An exhibit of kind "data": how many classes there are, and how many images each domain's parts hold.

    Who reads a figure can then tell whether it is of the whole of a data set.
    """
    read = list(domains)
    (classes,) = {len(domain.classes) for domain in read}
    images = {domain.name: {"train": len(domain.train), "test": len(domain.test)} for domain in read}
    return {"kind": "data", "classes": classes, "images": images}
