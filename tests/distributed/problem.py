"""A small problem of m tasks, trained on the whole batch or on this rank's part of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import mtlgrad
from mtlgrad.catalog import CATALOG

STEPS = 5


class Tasks(nn.Module):
    def __init__(self, m: int) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.trunk = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(5, 1) for _ in range(m))

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """A loss a task, whose targets pull apart, and the representation."""
        z = self.trunk(x)
        targets = [torch.sin((k + 1) * x.sum(1)) + (-1) ** k for k in range(len(self.heads))]
        return [(head(z)[:, 0] - y).square().mean() for head, y in zip(self.heads, targets, strict=True)], z


def batches(n: int = 8) -> list[Tensor]:
    draws = torch.Generator().manual_seed(4)
    return [torch.randn(n, 6, generator=draws) for _ in range(STEPS)]


def tasks_of(method: mtlgrad.Method) -> int:
    """Three tasks where the method allows it."""
    traits = method.traits
    return min(max(3, traits.min_tasks), traits.max_tasks or 99)


def methods() -> dict[str, mtlgrad.Method]:
    return {name: entry.method for name, entry in CATALOG.items()}


def trained(
    method: mtlgrad.Method,
    wrap: Callable[[Tasks], Any] = lambda model: model,
    part: Callable[[Tensor], Tensor] = lambda x: x,
    *,
    steps: int = STEPS,
    state: Any = None,
    **options: Any,
) -> tuple[nn.Module, mtlgrad.Balancer, list[mtlgrad.StepRecord]]:
    """The model after some steps, its Balancer, and the records."""
    model = wrap(Tasks(tasks_of(method)))
    inner = getattr(model, "module", model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    balancer = mtlgrad.Balancer(method, shared=inner.trunk, seed=3, **options)
    if state is not None:
        balancer.load_state_dict(state)
    records = []
    for x in batches()[:steps]:
        optimizer.zero_grad()
        losses, z = model(part(x))
        named = {f"task {k}": loss for k, loss in enumerate(losses)}
        features = z if method.traits.needs_features else None
        records.append(balancer.backward(named, features=features))
        optimizer.step()
    return inner, balancer, records


def whole(p: Tensor) -> Tensor:
    return p.full_tensor() if hasattr(p, "full_tensor") else p


def values(model: nn.Module) -> Tensor:
    """Every parameter, in one vector."""
    return torch.cat([whole(p.detach()).reshape(-1) for p in model.parameters()])
