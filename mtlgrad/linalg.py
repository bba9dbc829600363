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
_CANCELS, _CANCELS_HALF = 16.0, 256.0  # lengths summed, relative to the sum's, that float32 leaves digits enough
_LIGHT, _HEAVY = 2.0**-100, 2.0**100  # weights whose products with float32 gradients stay in float32's range
_INDEPENDENT = 1e-3  # smallest eigenvalue of the cosines of which errors of 1e-5 leave digits enough


def gram(jacobian: Tensor) -> Tensor:
    """G = J J^T [m, m] in float64 for J [m, n] of any floating dtype, on J's device.

    What decides about nearly dependent gradients (opposite, parallel, more tasks than parameters) are differences
    between entries of G far below float32's digits, so that on every device but MPS, which has no float64:

    - float64 rows are multiplied as they are; the rows of a small J (up to 32768 entries) are widened to float64 first,
      and all rows on an accelerator.
    - Long float32 rows on the CPU are multiplied in blocks of columns whose products are summed in float64: as fast as
      one product or faster, and right to about 1e-6 |g_i| |g_j| where a single float32 product is off by 1e-3, or to
      about 1e-5 |g_i| |g_j| where the products of a block are nearly equal, and are rounded the same way in every sum.
      Half-precision rows are widened to float32 first, and as right. Where that is too coarse, all is done again in
      float64: if an eigenvalue of the matrix of cosines is below 1e-3, or squares leave float32's range (norms below
      about 1e-13 or above 1e13).

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


def combine(weights: Tensor, jacobian: Tensor, gram: Tensor | None = None) -> Tensor:
    """d = w @ J [n] in J's dtype and as right as it: what rounding leaves is that of d, not of the rows that cancel.

    Weighted rows far longer than d lose in float32 the digits that are left of them (for weakly stationary tasks
    weights of 1e7 are ordinary), so that such sums are taken in float64, in blocks of columns, and rounded once:

    - where `gram`, G = J J^T [m, m], shows that sum_i |w_i| |g_i| is above 16 |d| (256 |d| for half precision, which
      rounds more coarsely), or where a weight is outside 2^-100 to 2^100;
    - without `gram`; for two tasks on an accelerator, where looking at G would make the host wait; and for a small J
      (up to 32768 entries), where it costs nothing.

    Otherwise the sum is a float32 product. MPS has no float64, and sums in float32.
    """
    if jacobian.dtype == torch.float64:
        return weights.to(torch.float64) @ jacobian
    if jacobian.is_cpu and jacobian.dtype == torch.float32 and jacobian.numel() <= _SMALL:
        wide = weights.detach().numpy() @ jacobian.detach().numpy().astype(np.float64)
        return torch.from_numpy(wide.astype(np.float32))  # three times as quick as torch's conversions
    with without_autocast(jacobian):
        if jacobian.device.type == "mps" or _keeps_digits(weights, jacobian, gram):
            return _combined(weights, jacobian, torch.float32)
        return _combined(weights, jacobian, torch.float64)


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


def _keeps_digits(weights: Tensor, jacobian: Tensor, gram: Tensor | None) -> bool:
    """Whether a float32 product gives d = w @ J to the rounding of J's dtype, as G [m, m] shows."""
    if gram is None or (len(gram) == 2 and not gram.is_cpu) or (jacobian.is_cpu and jacobian.numel() <= _SMALL):
        return False
    found = weights.tolist()
    live = [abs(one) for one in found if one != 0]
    if not live or min(live) < _LIGHT or max(live) > _HEAVY:
        return not live
    if len(found) == 2:  # plain numbers are quicker than NumPy's
        (a, c), (_, b) = gram.tolist()
        first, second = found
        square = first * first * a + 2 * first * second * c + second * second * b
        reach = abs(first) * math.sqrt(a) + abs(second) * math.sqrt(b)
    else:
        entries, w = gram.detach().cpu().numpy(), np.array(found)
        square, reach = float(w @ entries @ w), float(np.abs(w) @ np.sqrt(entries.diagonal()))
    limit = _CANCELS if jacobian.dtype == torch.float32 else _CANCELS_HALF
    return bool(square * limit**2 >= reach**2)  # false for NaN too


def _combined(weights: Tensor, jacobian: Tensor, dtype: torch.dtype) -> Tensor:
    """w @ J summed in `dtype`, in J's dtype."""
    wide = weights.to(jacobian.device, dtype)
    if jacobian.dtype == dtype:
        return wide @ jacobian
    direction = torch.empty_like(jacobian[0])
    width = max(1, _CACHED // len(jacobian) // _BLOCK) * _BLOCK if jacobian.is_cpu else _WIDEN
    for out, block in zip(direction.split(width), jacobian.split(width, dim=1), strict=True):
        out.copy_(wide @ block.to(dtype))
    return direction


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
