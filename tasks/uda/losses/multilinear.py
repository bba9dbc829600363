"""CDAN's conditioning of features on predictions: the outer product, and its randomised form."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def outer_product(features: Tensor, probabilities: Tensor) -> Tensor:
    """Every feature times every class probability: [N, D] and [N, K] to [N, K D] (Long et al. 2018, Eq. 4).

    >>> outer_product(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.25, 0.75]]))
    tensor([[0.2500, 0.5000, 0.7500, 1.5000]])
    """
    return (probabilities[:, :, None] * features[:, None, :]).flatten(1)


class RandomMap(nn.Module):
    """The outer product seen through fixed random matrices: [N, D] and [N, K] to [N, out].

    (R_f f) * (R_g g) / sqrt(out), elementwise, R_f [D, out] and R_g [K, out] standard normal and never trained: an
    unbiased estimate of inner products of `outer_product` (Long et al. 2018, Eq. 6). It is for widths at which D K is
    too much for a discriminator.

    Examples
    --------
    >>> RandomMap(8, 3, out=16)(torch.ones(2, 8), torch.ones(2, 3)).shape
    torch.Size([2, 16])
    """

    feature_map: Tensor
    class_map: Tensor

    def __init__(self, width: int, classes: int, *, out: int = 1024) -> None:
        super().__init__()
        self.out = out
        self.register_buffer("feature_map", torch.randn(width, out))
        self.register_buffer("class_map", torch.randn(classes, out))

    def forward(self, features: Tensor, probabilities: Tensor) -> Tensor:
        mapped: Tensor = (features @ self.feature_map) * (probabilities @ self.class_map) / self.out**0.5
        return mapped
