"""Asking the method: one decision per group of parameters, each with the state that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GradientAggregator, GramAggregator, JacobianAggregator
from mtlgrad.decision import Decision, decide, merge, plain_sum
from mtlgrad.engines.base import Call
from mtlgrad.method import State
from mtlgrad.states import placed, state_device


def ask(call: Call, blocks: Sequence[Tensor], features: Tensor | None = None) -> tuple[Decision, list[State]]:
    """The decision on the column blocks of J, [m, n_k] each, and the states after it."""
    assert isinstance(call.method, GradientAggregator)
    states = [
        placed(state, state_device(call.method, block.shape[0], block.device))
        for state, block in zip(_states(call, blocks), blocks, strict=True)
    ]
    decisions = [
        decide(call.method, block, call.values, state, call.draws, features)
        for block, state in zip(blocks, states, strict=True)
    ]
    if len(decisions) > 1 and not all(bool(decision.finite) for decision in decisions):
        decisions = [plain_sum(*three) for three in zip(decisions, blocks, states, strict=True)]
    decision = decisions[0] if call.groups is None else merge(decisions)
    return decision, [one.state for one in decisions]


def _states(call: Call, blocks: Sequence[Tensor]) -> Sequence[State]:
    if call.states is not None:
        return call.states
    method = call.method
    if isinstance(method, JacobianAggregator):
        return [method.init_like(block) for block in blocks]
    return [method.init(block.shape[0]) for block in blocks]


def foreseen(call: Call) -> tuple[Tensor, State] | None:
    """The weights that need no gradient this step, with the state after it; None: the method is to be asked."""
    if call.states is None or not isinstance(call.method, GramAggregator):
        return None
    return call.method.foreseen(call.states[0])


def settled_weights(weights: Tensor, values: Tensor) -> Tensor:
    """`weights` [m] on the device of the losses, or 1 where a loss is not finite."""
    return torch.where(values.isfinite().all(), weights.to(values.device), 1)
