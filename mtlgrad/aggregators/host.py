"""The crossing between torch and the NumPy solvers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
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
