"""The two passes over J that every Gramian method pays for: G = J J^T and d = w @ J."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_BLOCK = 1 << 22  # columns widened at a time; bounds the extra memory
_SAFE_LOW = math.sqrt(torch.finfo(torch.float32).tiny) * 1e6  # below: squares lose digits to underflow
_SAFE_HIGH = math.sqrt(torch.finfo(torch.float32).max) * 1e-6


def gram(jacobian: Tensor) -> Tensor:
    """G = J J^T [m, m] in float64 for J [m, n] of any floating dtype, on J's device.

    float64 and float32 rows are multiplied as they are, half-precision rows widened first. On the CPU a float32
    product whose squares leave float32's range (rows of norm below about 1e-13 or above 1e13) is redone in
    float64; accelerators accumulate in float64 throughout, so that the check costs no synchronisation.
    """
    if jacobian.dtype == torch.float64:
        return jacobian @ jacobian.T
    if jacobian.device.type == "cpu":
        product = _by_blocks(jacobian, torch.float32).double()
        norms = product.diagonal().sqrt()
        used = norms[norms > 0] if bool((norms > 0).any()) else norms.new_ones(1)
        # A zero norm may be a zero row or one whose squares all vanished; only the first may stay as it is.
        vanished = (norms == 0) & (jacobian != 0).any(1) if bool((norms == 0).any()) else None
        fine = bool(used.min() > _SAFE_LOW) and bool(used.max() < _SAFE_HIGH)
        if fine and (vanished is None or not bool(vanished.any())):
            return product
    wide = torch.float32 if jacobian.device.type == "mps" else torch.float64  # MPS has no float64
    return _by_blocks(jacobian, wide).to(wide)


def combine(weights: Tensor, jacobian: Tensor) -> Tensor:
    """d = w @ J [n] in J's dtype, accumulated in at least float32."""
    if jacobian.dtype in (torch.float32, torch.float64):
        return weights.to(jacobian.dtype) @ jacobian
    wide = weights.to(torch.float32)
    return torch.cat([(wide @ block.float()).to(jacobian.dtype) for block in jacobian.split(_BLOCK, dim=1)])


def _by_blocks(jacobian: Tensor, dtype: torch.dtype) -> Tensor:
    """J J^T with the rows widened to `dtype` block by block."""
    if jacobian.dtype == dtype:
        return jacobian @ jacobian.T
    total = torch.zeros(jacobian.shape[0], jacobian.shape[0], dtype=dtype, device=jacobian.device)
    for block in jacobian.split(_BLOCK, dim=1):
        wide = block.to(dtype)
        total += wide @ wide.T
    return total
