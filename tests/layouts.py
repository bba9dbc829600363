"""Tensors with the same values in other orders of memory: what must change no update."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def _reversed(values: Tensor) -> Tensor:
    back = tuple(reversed(range(values.dim())))
    return values.permute(back).contiguous().permute(back)


def _channels_last(values: Tensor) -> Tensor:
    """What ``memory_format=torch.channels_last`` and ``channels_last_3d`` give, for any number of dimensions."""
    return values.movedim(1, -1).contiguous().movedim(-1, 1) if values.dim() > 2 else values.clone()


def _gaps(values: Tensor) -> Tensor:
    wide = torch.stack([values, values], dim=-1)
    return wide[..., 0]


def _reversed_with_gaps(values: Tensor) -> Tensor:
    back = tuple(reversed(range(values.dim())))
    return _gaps(values.permute(back).contiguous()).permute(back)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels last": _channels_last,
    "transposed": _reversed,
    "gaps": _gaps,
    "transposed with gaps": _reversed_with_gaps,
}
"""Name to a function that copies a tensor into that order of memory."""


def relaid(module: nn.Module, layout: str) -> nn.Module:
    """`module` with its parameters in another order of memory; the same objects, and the same values."""
    for p in module.parameters():
        p.data = LAYOUTS[layout](p.data)
    return module
