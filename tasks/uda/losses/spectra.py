"""What is read off the singular values of a batch, and off the lengths of its rows."""

from __future__ import annotations

import torch
from torch import Tensor


def spectral_penalty(features: Tensor, *, largest: int = 1) -> Tensor:
    """The sum of squares of the `largest` singular values: [N, D] to [] (Chen et al., ICML 2019, Eq. 8).

    >>> spectral_penalty(torch.diag(torch.tensor([3.0, 2.0])))
    tensor(9.)
    """
    values: Tensor = torch.linalg.svdvals(features)
    return values[:largest].square().sum()


def nuclear_norm(probabilities: Tensor) -> Tensor:
    """The sum of the singular values of a batch of predictions, over its size: [N, K] to [].

    Large where predictions are sure and of many classes (Cui et al., CVPR 2020, Eq. 9).

    >>> nuclear_norm(torch.eye(2))
    tensor(1.)
    """
    values: Tensor = torch.linalg.svdvals(probabilities)
    return values.sum() / len(probabilities)


def stepwise_norms(features: Tensor, *, step: float) -> Tensor:
    """(|f| - (|f| now + step))^2, averaged over the batch: each row is to become longer by `step`; [N, D] to [].

    The aim is a constant to gradients (Xu et al., Larger Norm More Transferable, ICCV 2019, Eq. 6).

    >>> stepwise_norms(torch.ones(2, 4), step=0.5)
    tensor(0.2500)
    """
    lengths: Tensor = features.norm(dim=1)
    return (lengths - (lengths.detach() + step)).square().mean()
