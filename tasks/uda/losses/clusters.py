"""Pseudo-labels from clusters of the target's features."""

from __future__ import annotations

import torch
from torch import Tensor


def centroids(features: Tensor, probabilities: Tensor, *, rounds: int = 1) -> Tensor:
    """One centre a class, [N, D] and [N, K] to [K, D]: means weighted by predictions, then `rounds` of k-means.

    Distances are cosines. A class that no row is nearest to keeps its centre (Liang et al., Do We Really Need to Access
    the Source Data?, ICML 2020, Eq. 4 to 6).

    >>> centroids(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.eye(2))
    tensor([[2., 0.],
            [0., 2.]])
    """
    centres = (probabilities.T @ features) / probabilities.sum(dim=0).clamp(min=1e-8)[:, None]
    for _ in range(rounds):
        labels = nearest(features, centres)
        members = torch.nn.functional.one_hot(labels, len(centres)).to(features.dtype)
        counts = members.sum(dim=0)[:, None]
        centres = torch.where(counts > 0, (members.T @ features) / counts.clamp(min=1), centres)
    return centres


def nearest(features: Tensor, centres: Tensor) -> Tensor:
    """The centre with the greatest cosine to each row: [N, D] and [K, D] to int64 [N].

    >>> nearest(torch.tensor([[5.0, 1.0]]), torch.eye(2))
    tensor([0])
    """
    normalise = torch.nn.functional.normalize
    return (normalise(features, dim=1) @ normalise(centres, dim=1).T).argmax(dim=1)
