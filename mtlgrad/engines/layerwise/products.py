"""Gramians and gradients from rows of layer inputs and rows of output gradients: the arithmetic and its price.

Prices are in multiply-adds of float32, as one thread does them in matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtlgrad.linalg import combine, without_autocast

PRICE_OF_AN_ENTRY = 80
"""Multiply-adds in the time that an entry of J takes: it is cleared, written, added, and read for G and for w @ J."""
_CACHED = 1 << 16  # entries widened at a time on the CPU: they stay in the cache, and in memory that is at hand
_WIDE = 2  # what a float64 multiply-add costs in float32 ones


def kernel(left: Tensor) -> Tensor:
    """The inner products of a layer's inputs, K [r, r] in float64.

    From inputs [r, inner], or from indices [r] of an embedding: 1 where two rows look up the same entry, and 0 for -1.

    >>> kernel(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    tensor([[5., 2.],
            [2., 1.]], dtype=torch.float64)
    >>> kernel(torch.tensor([3, -1, 3]))
    tensor([[1., 0., 1.],
            [0., 0., 0.],
            [1., 0., 1.]], dtype=torch.float64)
    """
    if left.dim() == 1:
        return ((left[:, None] == left) & (left >= 0)).double()
    with without_autocast(left):
        wide = left.double()
        return wide @ wide.T


def gram_of_rows(products: Tensor, rights: Sequence[Tensor]) -> Tensor:
    """<g_i, g_j> = sum of K * (D_i D_jᵀ): [m, m] in float64, for K [r, r] and m output gradients D_i [r, outer].

    >>> a, d = torch.randn(5, 3), torch.randn(2, 5, 4)
    >>> g = (d.transpose(1, 2) @ a).flatten(1)
    >>> torch.allclose(gram_of_rows(kernel(a), d.unbind()).float(), g @ g.T, rtol=1e-4)
    True
    """
    m, (rows, outer) = len(rights), rights[0].shape
    total = products.new_zeros(m, m)
    width = max(16, _CACHED // max(1, m * rows)) if products.is_cpu else outer
    with without_autocast(products):
        for start in range(0, outer, width):
            wide = torch.stack([right[:, start : start + width] for right in rights]).double()
            total.addmm_((products @ wide).flatten(1), wide.flatten(1).T)
    return total


def combined_rows(weights: Tensor, rights: Sequence[Tensor], gram: Tensor) -> Tensor:
    """The sum of w_i D_i [r, outer], in the dtype of D_i [r, outer] each, for weights [m] decided from G = `gram`."""
    rows, outer = rights[0].shape
    width = max(1, _CACHED // max(1, len(rights) * outer)) if gram.is_cpu else rows
    pieces = [
        combine(weights, torch.stack([right[start : start + width].flatten() for right in rights]), gram)
        for start in range(0, rows, width)
    ]
    return torch.cat(pieces).view(rows, outer)


def gram_of_owned_rows(products: Tensor, rights: Tensor, owners: Tensor, m: int) -> Tensor:
    """[m, m] in float64, where row k of D [r, outer] is of task `owners[k]` alone, for K [r, r].

    >>> a, d, owners = torch.randn(5, 3), torch.randn(5, 4), torch.tensor([1, 0, 1, 1, 0])
    >>> apart = torch.stack([torch.where(owners[:, None] == i, d, 0) for i in (0, 1)])
    >>> torch.allclose(gram_of_owned_rows(kernel(a), d, owners, 2), gram_of_rows(kernel(a), apart))
    True
    """
    with without_autocast(rights):
        wide = rights.double()
        pairs = products * (wide @ wide.T)
    half = pairs.new_zeros(m, len(owners)).index_add_(0, owners, pairs)
    return pairs.new_zeros(m, m).index_add_(1, owners, half)


def gradient(left: Tensor | None, right: Tensor, table: int) -> Tensor:
    """What rows D [r, outer] come to: Dᵀ A [outer, inner], sums by index [table, outer], or their sum [outer]."""
    if left is None:
        return right.sum(0)
    if left.dim() == 1:
        # Indices of -1 count nowhere: they go to a line more, which is cut off.
        places = torch.where(left < 0, table, left)
        return right.new_zeros(table + 1, right.shape[1]).index_add_(0, places, right)[:table]
    with without_autocast(right):
        return right.T @ left


def gradients_of_owned_rows(left: Tensor | None, right: Tensor, owners: Tensor, m: int, table: int) -> Tensor:
    """`gradient` of every task's own rows, flat: [m, n]."""
    if left is None:
        return right.new_zeros(m, right.shape[1]).index_add_(0, owners, right)
    order = torch.argsort(owners, stable=True)
    counts = torch.bincount(owners, minlength=m).tolist()
    pieces = zip(left[order].split(counts), right[order].split(counts), strict=True)
    return torch.stack([gradient(a, d, table).flatten() for a, d in pieces])


def price_of_kernel(rows: int, inner: int, outer: int, m: int, *, lookup: bool = False) -> float:
    """Multiply-adds, float32 ones, to get from rows to G and after the decision to the combined gradient."""
    last = rows * outer if lookup else rows * inner * outer
    made = 0 if lookup else rows * rows * inner
    return _WIDE * (made + m * rows * rows * outer) + last + inner * outer * PRICE_OF_AN_ENTRY / 4


def price_of_gradients(rows: int, inner: int, outer: int, m: int, *, lookup: bool = False) -> float:
    """Multiply-adds to form every task's gradient from all rows, and to get from J to G and to the direction."""
    formed = rows * outer if lookup else rows * inner * outer
    return m * (formed + PRICE_OF_AN_ENTRY * inner * outer)


def price_of_owned_gradients(rows: int, inner: int, outer: int, m: int, *, lookup: bool = False) -> float:
    """As `price_of_gradients`, where every row is of one task."""
    formed = rows * outer if lookup else rows * inner * outer
    return formed + m * PRICE_OF_AN_ENTRY * inner * outer
