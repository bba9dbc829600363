"""Boxes for tests."""

from __future__ import annotations

import torch
from torch import Tensor


def random_boxes(count: int, seed: int) -> Tensor:
    """Corners [count, 4] in [0, 1], each side at least 0.05."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    low = 0.7 * torch.rand(count, 2, generator=generator)
    size = 0.05 + (0.95 - low) * torch.rand(count, 2, generator=generator) ** 2
    return torch.cat([low, low + size], dim=1)
