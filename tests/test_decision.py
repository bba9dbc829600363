"""A decision owns what it hands on: J's buffer serves the next step."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mtlgrad import GH, Balancer, JacobianAggregator, Traits
from mtlgrad.decision import decide
from mtlgrad.method import State


@dataclass(frozen=True)
class Keeper(JacobianAggregator):
    """Returns a row of J as it is, and keeps J."""

    traits = Traits(stateful=True, permutation_equivariant=False)

    def init_like(self, jacobian: Tensor) -> State:
        return {"last": torch.zeros_like(jacobian)}

    def _step(self, jacobian: Tensor, state: State, **more: object) -> tuple[Tensor, State]:
        return jacobian[0], {"last": jacobian}


@pytest.mark.parametrize("columns", [slice(None), slice(1, 3)])
def test_direction_and_state_survive_the_buffer(columns: slice) -> None:
    buffer = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    J = buffer[:, columns]
    wanted = J.clone()
    decision = decide(Keeper(), J, torch.ones(2), Keeper().init_like(J), torch.Generator())
    buffer.zero_()
    assert torch.equal(decision.direction, wanted[0])
    assert torch.equal(decision.state["last"], wanted)


def test_accumulated_gradients_of_two_steps() -> None:
    w = torch.zeros(3, requires_grad=True)
    balancer = Balancer(Keeper(), shared=[w])
    for factor in (5, 9):  # gradients add up, as in plain torch
        balancer.backward({"a": factor * w.sum(), "b": -w.sum()})
    assert torch.equal(w.grad, torch.full((3,), 14.0))


def test_gradients_without_a_finite_square_count_as_not_finite() -> None:
    J = torch.tensor([[1e200, 0.0], [-1e200, 1.0]], dtype=torch.float64)
    decision = decide(GH(), J, torch.ones(2), {}, torch.Generator())
    assert not bool(decision.finite)
    assert torch.equal(decision.direction, J.sum(0))
