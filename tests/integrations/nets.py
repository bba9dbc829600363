"""What the integrations train on: two tasks over a trunk whose forward pass draws, and moves buffers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Restless(nn.Module):
    """Dropout, a batch normalisation, and noise from NumPy's global generator."""

    def __init__(self, noise: float = 0.0, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 4))
        self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 2)
        self.noise = noise

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        z = self.trunk(x) + self.noise * float(np.random.standard_normal())  # noqa: NPY002 - the global one, on purpose
        return {"a": (self.a(z) - 1).square().mean(), "b": 3 * (self.b(z) + 1).square().mean() + z.square().mean()}


class Smooth(nn.Module):
    """The same without normalisation and noise: the loss of a batch is the mean of its parts' losses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
        self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 2)

    forward = Restless.forward
    noise = 0.0


def data(n: int = 32) -> Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(2))


def equal(a: nn.Module, b: nn.Module) -> bool:
    """Whether two models agree to the last bit, buffers included."""
    first, second = a.state_dict(), b.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)
