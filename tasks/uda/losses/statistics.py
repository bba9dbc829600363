"""Distances between two samples of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WIDTHS = (0.125, 0.25, 0.5, 1.0, 2.0)
"""2^k, k = -3, ..., 1: the kernels of DAN, against the mean squared distance."""


def linear_mmd(source: Tensor, target: Tensor) -> Tensor:
    """The squared distance of the means, [N, D] and [M, D] to []: MMD with the linear kernel, biased.

    >>> linear_mmd(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.zeros(1, 2))
    tensor(4.)
    """
    gap: Tensor = source.mean(dim=0) - target.mean(dim=0)
    return gap @ gap


@dataclass(frozen=True)
class Gaussian:
    """A sum of Gaussian kernels, k(x, y) = sum_a exp(-|x - y|^2 / (2 a b)).

    Parameters
    ----------
    widths:
        The a's.
    bandwidth:
        b; None: the mean squared distance of all pairs of rows at hand, a constant to gradients.
    """

    widths: tuple[float, ...] = WIDTHS
    bandwidth: float | None = None

    def __call__(self, rows: Tensor) -> Tensor:
        """Between all rows, [N, D] to [N, N]."""
        # not cdist: its gradient is not finite where two rows are equal. Nor all differences, [N, N, D] at once. From
        # products of rows that are far from 0 beside their distances, little would be left: hence the mean first
        rows = rows - rows.detach().mean(dim=0)
        lengths = rows.square().sum(dim=1)
        squared = (lengths[:, None] + lengths - 2 * rows @ rows.T).clamp(min=0)
        bandwidth = squared.detach().mean().clamp(min=1e-12) if self.bandwidth is None else self.bandwidth
        return torch.stack([torch.exp(-squared / (2 * width * bandwidth)) for width in self.widths]).sum(dim=0)


def kernel_mmd(source: Sequence[Tensor], target: Sequence[Tensor], kernels: Sequence[Gaussian]) -> Tensor:
    """The unbiased squared MMD of two samples described by one layer or several, whose kernels are multiplied.

    mean_{i != j} k(s_i, s_j) + mean_{i != j} k(t_i, t_j) - 2 mean_{i, j} k(s_i, t_j). With one layer that of DAN
    (Long et al., Learning Transferable Features with Deep Adaptation Networks, ICML 2015, Eq. 1), with several the
    joint one of JAN (Long et al., Deep Transfer Learning with Joint Adaptation Networks, ICML 2017, Eq. 10). It may
    be negative.

    Parameters
    ----------
    source, target:
        By layer, [N, D] and [M, D], at least two rows each.
    kernels:
        One a layer.

    Examples
    --------
    >>> x = torch.tensor([[0.0], [1.0]])
    >>> kernel_mmd([x], [x + 100.0], [Gaussian((1.0,), bandwidth=0.5)])  # 2 exp(-1)
    tensor(0.7358)
    """
    n, m = len(source[0]), len(target[0])
    if min(n, m) < 2:
        raise ValueError(f"source and target have {n} and {m} rows; allowed: at least 2 each")
    together = [kernel(torch.cat(pair)) for kernel, *pair in zip(kernels, source, target, strict=True)]
    similarity = torch.stack(together).prod(dim=0)
    found = -2 * similarity[:n, n:].mean()
    for block, count in ((similarity[:n, :n], n), (similarity[n:, n:], m)):
        found = found + (block.sum() - block.diagonal().sum()) / (count * (count - 1))
    return found


def sliced_wasserstein(first: Tensor, second: Tensor, directions: Tensor) -> Tensor:
    """The mean squared distance of two samples sorted along directions: [N, K], [N, K], [K, L] to [].

    The directions are scaled to length one (Lee et al., Sliced Wasserstein Discrepancy for Unsupervised Domain
    Adaptation, CVPR 2019, Eq. 5).

    >>> sliced_wasserstein(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [2.0]]), torch.tensor([[5.0]]))
    tensor(4.)
    """
    along = directions / directions.norm(dim=0)
    gaps: Tensor = (first @ along).sort(dim=0).values - (second @ along).sort(dim=0).values
    return gaps.square().mean()
