"""The crossing between torch and the NumPy solvers, and what a Gramian must be before it crosses."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf
from torch import Tensor

Array = NDArray[np.float64]


def on_host(solve: Callable[[Array], Array], gram: Tensor, *, pair: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """`solve` on G [m, m] float64 as NumPy, or `pair` on a 2 x 2 G that lives on an accelerator.

    A method with a closed form for two tasks gets such a G where it lies, and looking at its values would make the
    host wait. On the CPU there is nothing to wait for, and NumPy is quicker than a dozen small tensors.
    """
    if pair is not None and not gram.is_cpu and len(gram) == 2:
        return pair(gram)
    return torch.from_numpy(np.ascontiguousarray(solve(gram.numpy())))


def check_finite(argument: str, tensor: Tensor) -> None:
    """Raise ValueError unless all of `tensor`, on the CPU, is finite."""
    entries = tensor.numpy()
    if np.count_nonzero(np.isfinite(entries)) < entries.size:
        raise ValueError(f"{argument} must be finite, got\n{entries}")


def check_rows(gram: Tensor) -> None:
    """Raise ValueError, of J, unless its Gramian G [m, m] is finite."""
    squares = gram.diagonal().numpy()
    if not np.isfinite(squares).all():
        rows = np.flatnonzero(~np.isfinite(squares)).tolist()
        raise ValueError(f"jacobian must be finite, its rows shorter than 1e154, got others in rows {rows}")


def _rounding(dtype: torch.dtype) -> tuple[float, float]:
    """How far a G given in `dtype` may be from a Gramian, relative to |g_i| |g_j|, and the least |g_i|^2 that is known.

    Below that the squares summed have underflowed, or were flushed to zero.
    """
    limits = torch.finfo(dtype)
    slack = {torch.float64: 1e-6, torch.float32: 1e-3}.get(dtype, 4 * limits.eps)  # what long products leave
    return slack, limits.tiny if dtype == torch.float16 else limits.tiny / limits.eps


def check_is_gram(gram: Tensor, dtype: torch.dtype) -> None:
    """Raise ValueError unless `gram` [m, m] float64, on the CPU, is J J^T of some J, up to the rounding of `dtype`."""
    slack, floor = _rounding(dtype)
    if len(gram) == 2:  # plain numbers are quicker than NumPy's
        (a, c), (d, b) = gram.tolist()
        if _is_gram_of_two(a, b, c, d, slack, floor):
            return
    entries = gram.numpy()
    check_finite("gram", gram)
    squares = entries.diagonal()
    if squares.min() < 0:
        task = int(squares.argmin())
        raise ValueError(
            f"gram must be J J^T and hold squared lengths on its diagonal, got {squares[task]:g} for task {task}"
        )
    # Where the square of a short row underflowed its products with long ones are left.
    norms = np.sqrt(np.maximum(squares, floor))
    cosines = entries / norms[:, None] / norms
    gap = np.abs(cosines - cosines.T)
    if gap.max() > slack:
        i, j = sorted(map(int, np.unravel_index(gap.argmax(), gap.shape)))
        raise ValueError(
            f"gram must be J J^T and so symmetric, got {entries[i, j]:g} at [{i}, {j}] and {entries[j, i]:g} at "
            f"[{j}, {i}] (was it J1 J2^T of two batches? then pass half the sum of it and its transpose)"
        )
    cosines.flat[:: len(norms) + 1] = 1 + len(norms) * slack  # what rounding of all entries moves eigenvalues by
    if dpotrf(cosines)[1]:
        lowest = float(np.linalg.eigvalsh(cosines)[0]) - len(norms) * slack
        raise ValueError(
            "gram must be J J^T and so positive semi-definite, got a matrix whose cosines have the eigenvalue "
            f"{lowest:.3g}; mtlgrad.linalg.gram(J) forms it without that rounding"
        )


def _is_gram_of_two(a: float, b: float, c: float, d: float, slack: float, floor: float) -> bool:
    """Whether [[a, c], [d, b]] is a Gramian up to `slack`; squares below `floor` have underflowed."""
    if not (0.0 <= a < math.inf and 0.0 <= b < math.inf):
        return False
    size = math.sqrt(max(a, floor)) * math.sqrt(max(b, floor))
    return abs(c - d) <= slack * size and abs(c) <= (1.0 + 2.0 * slack) * size


def is_gram_of_two(gram: Tensor, dtype: torch.dtype) -> Tensor:
    """bool []: what `check_is_gram` asks of a G [2, 2], without looking at it."""
    slack, floor = _rounding(dtype)
    squares = gram.diagonal()
    size = squares.clamp(min=floor).sqrt().prod()
    symmetric = (gram[0, 1] - gram[1, 0]).abs() <= slack * size
    return symmetric & (gram[0, 1].abs() <= (1 + 2 * slack) * size) & (squares >= 0).all()
