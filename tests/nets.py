"""A small network with two tasks that pull apart, for the tests of the Balancer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Losses = dict[str, Tensor]


class Net(nn.Module):
    """A trunk and two heads whose targets pull apart."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))
        self.heads = nn.ModuleDict({"a": nn.Linear(5, 3), "b": nn.Linear(5, 3)})
        self.double()
        self.passes: list[int] = []  # grows by one with each backward pass through the trunk

    def losses(self, x: Tensor, trunk: Callable[[Tensor], Tensor] | None = None) -> Losses:
        z = (trunk or self.trunk)(x)
        z.register_hook(lambda _: self.passes.append(1))
        return self.losses_at(z)

    def losses_at(self, z: Tensor) -> Losses:
        return {
            "a": (self.heads["a"](z) - 1).square().mean() + (z - 2).square().mean(),
            "b": 3 * ((self.heads["b"](z) + 1).square().mean() + (z + 1).square().mean()),
        }


def batch(n: int = 8, seed: int = 1) -> Tensor:
    return torch.randn(n, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def flat(tensors: object) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])  # type: ignore[attr-defined]


def grads(module: nn.Module) -> Tensor:
    return flat([torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()])


def jacobian(net: Net, x: Tensor) -> Tensor:
    """J by hand."""
    parameters = list(net.trunk.parameters())
    return torch.stack(
        [flat(torch.autograd.grad(loss, parameters, retain_graph=True)) for loss in net.losses(x).values()]
    )
