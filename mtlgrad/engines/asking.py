"""Asking the method: one decision per group of parameters, each with the state that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GradientAggregator, GramAggregator, JacobianAggregator
from mtlgrad.decision import Decision, decide, decide_from_gram, merge, plain_sum
from mtlgrad.engines.base import Call
from mtlgrad.method import State
from mtlgrad.states import placed, state_device


def ask(call: Call, blocks: Sequence[Tensor], features: Tensor | None = None) -> tuple[Decision, list[State]]:
    """The decision on the column blocks of J, [m, n_k] each, and the states after it."""
    method = call.method
    assert isinstance(method, GradientAggregator)
    states = _states(call, blocks, blocks[0].device)
    decisions = [
        decide(method, block, call.values, state, call.draws, features)
        for block, state in zip(blocks, states, strict=True)
    ]
    return _together(call, decisions, states, blocks)


def ask_grams(call: Call, grams: Sequence[Tensor]) -> tuple[Decision, list[State]]:
    """The decision of a Gramian method where each group's G [m, m] float64 is known and J is not: weights only."""
    method = call.method
    assert isinstance(method, GramAggregator)
    states = _states(call, grams, grams[0].device)
    decisions = [
        decide_from_gram(method, gram, call.values, state, call.draws)
        for gram, state in zip(grams, states, strict=True)
    ]
    return _together(call, decisions, states, [None] * len(grams))


def _together(
    call: Call, decisions: list[Decision], states: Sequence[State], blocks: Sequence[Tensor | None]
) -> tuple[Decision, list[State]]:
    if len(decisions) > 1 and not all(bool(decision.finite) for decision in decisions):
        decisions = [plain_sum(*three) for three in zip(decisions, blocks, states, strict=True)]
    decision = decisions[0] if call.groups is None else merge(decisions)
    return decision, [one.state for one in decisions]


def _states(call: Call, likes: Sequence[Tensor], device: torch.device) -> list[State]:
    """The state of each group where the method reads it; `likes` are blocks of J, or Gramians."""
    method, m = call.method, len(call.present)
    if call.states is not None:
        states = list(call.states)
    elif isinstance(method, JacobianAggregator):
        states = [method.init_like(block) for block in likes]
    else:
        states = [method.init(m) for _ in likes]
    return [placed(state, state_device(method, m, device)) for state in states]


def foreseen(call: Call) -> tuple[Tensor, State] | None:
    """The weights that need no gradient this step, with the state after it; None: the method is to be asked."""
    if call.states is None or not isinstance(call.method, GramAggregator):
        return None
    return call.method.foreseen(call.states[0])


def settled_weights(weights: Tensor, values: Tensor) -> Tensor:
    """`weights` [m] on the device of the losses, or 1 where a loss is not finite."""
    return torch.where(values.isfinite().all(), weights.to(values.device), 1)
