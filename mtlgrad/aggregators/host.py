"""The crossing between torch and the NumPy solvers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def on_host(solve: Callable[[Array], Array], gram: Tensor) -> Tensor:
    """`solve` on G as NumPy; G is float64 on the CPU already, so nothing is copied on the way in."""
    return torch.from_numpy(np.ascontiguousarray(solve(gram.numpy())))
