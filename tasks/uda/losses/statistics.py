"""Distances between two samples of features."""

from __future__ import annotations

from torch import Tensor


def linear_mmd(source: Tensor, target: Tensor) -> Tensor:
    """The squared distance of the means, [N, D] and [M, D] to []: MMD with the linear kernel, biased.

    >>> import torch
    >>> linear_mmd(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.zeros(1, 2))
    tensor(4.)
    """
    gap: Tensor = source.mean(dim=0) - target.mean(dim=0)
    return gap @ gap
