"""Under autocast every decision is the one without it: G, d and what Jacobian methods compute keep their digits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mtlgrad import Balancer, catalog
from mtlgrad.method import Method
from mtlgrad.scalarizers import Scalarizer

METHODS = [method for entry in catalog.CATALOG.values() for method in entry.methods]
LOSSES = torch.linspace(0.5, 2.0, 8)


def rows(m: int, n: int) -> Tensor:
    return torch.randn(m, n, generator=torch.Generator().manual_seed(0))


def decided(method: Method, *, autocast: bool, n: int) -> Tensor:
    J = rows(max(2, method.traits.min_tasks), n)
    more = {"features": J[0].view(2, n // 2)} if method.traits.needs_features else {}
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        call: Any = method
        return call(J, losses=LOSSES[: len(J)], generator=torch.Generator().manual_seed(0), **more)


@pytest.mark.parametrize("n", [100, 20_000])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_one_call(method: Method, n: int) -> None:
    inside = decided(method, autocast=True, n=n)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, decided(method, autocast=False, n=n))


def stepped(method: Method, *, autocast: bool) -> list[Tensor]:
    """What two steps of the Balancer leave behind; no backward pass here holds a matrix product."""
    w = torch.ones(100, requires_grad=True)
    J = rows(max(2, method.traits.min_tasks), 100)
    balancer = Balancer(method, shared=[w])
    left: list[Tensor] = []
    for _ in range(2):
        losses = {str(k): (w * row).sum().square() for k, row in enumerate(J)}
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            record = balancer.backward(losses)
        seen = [w.grad, record.gram, record.weights, record.alignment, record.direction_norm]
        left += [one.clone() for one in seen if one is not None]
    return left


@pytest.mark.parametrize("method", [m for m in METHODS if not m.traits.needs_features], ids=lambda m: m.name)
def test_a_step_of_the_balancer(method: Method) -> None:
    inside, outside = stepped(method, autocast=True), stepped(method, autocast=False)
    assert len(inside) == len(outside) == (4 if isinstance(method, Scalarizer) else len(outside))
    for one, other in zip(inside, outside, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_nothing_overflows_in_half_precision() -> None:
    J = torch.full((2, 100), 1e4)
    with torch.autocast("cpu", torch.float16):
        assert torch.equal(catalog.make("gh")(J), J.sum(0))  # type: ignore[operator]
