"""The two passes over J that every Gramian method pays for: G = J J^T and d = w @ J."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_BLOCK = 1 << 12  # columns of one product: short enough for float32 sums, long enough to keep products few
_WIDEN = 1 << 22  # columns widened at a time; bounds the extra memory
_SAFE_LOW = math.sqrt(torch.finfo(torch.float32).tiny) * 1e6  # below: squares lose digits to underflow
_SAFE_HIGH = math.sqrt(torch.finfo(torch.float32).max) * 1e-6


def gram(jacobian: Tensor) -> Tensor:
    """G = J J^T [m, m] in float64 for J [m, n] of any floating dtype, on J's device.

    float64 rows are multiplied as they are. float32 rows are multiplied in blocks of columns whose products are
    summed in float64: as fast as one product or faster, and right to about 1e-6 |g_i| |g_j| where a single float32
    product of long rows is off by 1e-3. Half-precision rows are widened to float32 first. On the CPU, rows whose
    squares leave float32's range (norms below about 1e-13 or above 1e13) are redone in float64; accelerators work in
    float64 throughout, so that the check costs no synchronisation.
    """
    if jacobian.dtype == torch.float64:
        return jacobian @ jacobian.T
    if jacobian.device.type == "cpu":
        product = _by_blocks(jacobian, torch.float32)
        if _in_range(jacobian, product):
            return product
        return _by_blocks(jacobian, torch.float64)
    # MPS has no float64
    return _by_blocks(jacobian, torch.float32 if jacobian.device.type == "mps" else torch.float64)


def combine(weights: Tensor, jacobian: Tensor) -> Tensor:
    """d = w @ J [n] in J's dtype, accumulated in at least float32."""
    if jacobian.dtype in (torch.float32, torch.float64):
        return weights.to(jacobian.dtype) @ jacobian
    wide = weights.to(torch.float32)
    return torch.cat([(wide @ block.float()).to(jacobian.dtype) for block in jacobian.split(_WIDEN, dim=1)])


def _in_range(jacobian: Tensor, product: Tensor) -> bool:
    """Whether no row's squares overflowed, or underflowed, in float32; a row of zeros is fine."""
    norms = product.diagonal().sqrt()
    suspect = ~((norms > _SAFE_LOW) & (norms < _SAFE_HIGH))
    return not bool(suspect.any()) or not bool((jacobian[suspect] != 0).any())


def _by_blocks(jacobian: Tensor, dtype: torch.dtype) -> Tensor:
    """J J^T as a sum of products in `dtype`, summed in float64 (on MPS: in `dtype`)."""
    total = torch.zeros(len(jacobian), len(jacobian), dtype=dtype, device=jacobian.device)
    total = total if total.device.type == "mps" else total.double()
    for part in jacobian.split(_WIDEN, dim=1) if jacobian.dtype != dtype else (jacobian,):
        wide = part.to(dtype)
        whole = wide.shape[1] // _BLOCK * _BLOCK
        if whole:
            blocks = wide[:, :whole].unflatten(1, (-1, _BLOCK)).transpose(0, 1)
            total += torch.bmm(blocks, blocks.transpose(1, 2)).to(total.dtype).sum(0)
        if whole < wide.shape[1]:
            rest = wide[:, whole:]
            total += rest @ rest.T
    return total
