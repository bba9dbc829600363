"""The two passes over J that every Gramian method pays for: G = J J^T and d = w @ J."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from scipy.linalg.lapack import dpotrf
from torch import Tensor

_AS_IT_IS = nullcontext()
_SMALL = 1 << 15  # entries of J; up to here a float64 product takes no longer than a float32 one that is looked over
_BLOCK = 1 << 12  # columns of one product: short enough for float32 sums, long enough to keep products few
_WIDEN = 1 << 22  # columns widened at a time; bounds the extra memory
_CACHED = 1 << 18  # entries widened at a time on the CPU, where what leaves the cache takes several times as long
_SAFE_LOW = math.sqrt(torch.finfo(torch.float32).tiny) * 1e6  # below: squares lose digits to underflow
_SAFE_HIGH = math.sqrt(torch.finfo(torch.float32).max) * 1e-6
_INDEPENDENT = 1e-3  # smallest eigenvalue of the cosines of which errors of 1e-6 leave digits enough


def gram(jacobian: Tensor) -> Tensor:
    """G = J J^T [m, m] in float64 for J [m, n] of any floating dtype, on J's device.

    What decides about nearly dependent gradients (opposite, parallel, more tasks than parameters) are differences
    between entries of G far below float32's digits, so that on every device but MPS, which has no float64:

    - float64 rows are multiplied as they are; the rows of a small J (up to 32768 entries) are widened to float64 first,
      and all rows on an accelerator.
    - Long float32 rows on the CPU are multiplied in blocks of columns whose products are summed in float64: as fast as
      one product or faster, and right to about 1e-6 |g_i| |g_j| where a single float32 product is off by 1e-3.
      Half-precision rows are widened to float32 first. Where that is too coarse, all is done again in float64: if an
      eigenvalue of the matrix of cosines is below 1e-3, or squares leave float32's range (norms below about 1e-13 or
      above 1e13).

    On MPS the sums stay float32, and gradients within about 1e-3 of dependence are not told from dependent ones.
    Entries beyond float64's range (of rows longer than about 1e154) come out infinite.
    """
    if jacobian.dtype == torch.float64:
        return jacobian @ jacobian.T
    if jacobian.is_cpu and jacobian.numel() <= _SMALL:
        wide = jacobian.double()
        return wide @ wide.T
    with without_autocast(jacobian):
        if jacobian.device.type == "mps":
            return _by_blocks(jacobian, torch.float32)
        if not jacobian.is_cpu:
            return _by_blocks(jacobian, torch.float64)  # looking at the product would cost a synchronisation
        product = _by_blocks(jacobian, torch.float32)
        return product if _well_known(product, jacobian) else _by_blocks(jacobian, torch.float64)


def combine(weights: Tensor, jacobian: Tensor) -> Tensor:
    """d = w @ J [n] in J's dtype, accumulated in at least float32."""
    with without_autocast(jacobian):
        if jacobian.dtype in (torch.float32, torch.float64):
            return weights.to(jacobian.dtype) @ jacobian
        wide = weights.to(torch.float32)
        return torch.cat([(wide @ block.float()).to(jacobian.dtype) for block in jacobian.split(_WIDEN, dim=1)])


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """Where autocast is on, a context without it: it would multiply float32 in half precision; float64 it lets be."""
    device = tensor.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else _AS_IT_IS


def _well_known(product: Tensor, jacobian: Tensor) -> bool:
    """Whether float32 sufficed for G = `product`: no square left its range, and no eigenvalue is close to rounding."""
    entries = product.detach().numpy()
    norms = np.sqrt(entries.diagonal())
    safe = (norms > _SAFE_LOW) & (norms < _SAFE_HIGH)
    if not safe.all():
        if bool((jacobian[torch.from_numpy(~safe)] != 0).any()):
            return False
        entries, norms = entries[np.ix_(safe, safe)], norms[safe]  # rows of zeros are exact
    cosines = entries / norms[:, None]
    cosines /= norms
    cosines.flat[:: len(norms) + 1] = 1 - _INDEPENDENT
    _, failed = dpotrf(cosines)  # positive definite still: no eigenvalue was below what was taken off
    return not failed


def _by_blocks(jacobian: Tensor, dtype: torch.dtype) -> Tensor:
    """J J^T as a sum of products in `dtype`, summed in float64 (on MPS: in `dtype`)."""
    m = len(jacobian)
    total = torch.zeros(m, m, dtype=dtype, device=jacobian.device)
    total = total if total.device.type == "mps" else total.double()
    width = max(1, _CACHED // m // _BLOCK) * _BLOCK if jacobian.is_cpu else _WIDEN
    for part in jacobian.split(width, dim=1) if jacobian.dtype != dtype else (jacobian,):
        wide = part.to(dtype)
        whole = wide.shape[1] // _BLOCK * _BLOCK
        if whole:
            blocks = wide[:, :whole].unflatten(1, (-1, _BLOCK)).transpose(0, 1)
            total += torch.bmm(blocks, blocks.transpose(1, 2)).to(total.dtype).sum(0)
        if whole < wide.shape[1]:
            rest = wide[:, whole:]
            total += rest @ rest.T
    return total
