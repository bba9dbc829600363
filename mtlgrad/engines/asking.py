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
    assert isinstance(call.method, GradientAggregator)
    states = _states(call, blocks)
    decisions = [
        decide(call.method, block, call.values, state, call.draws, features)
        for block, state in zip(blocks, states, strict=True)
    ]
    return _together(call, decisions, list(blocks), states)


def ask_from_grams(call: Call, grams: Sequence[Tensor]) -> tuple[Decision, list[State]]:
    """The decision from one Gramian [m, m] a group, for a method that needs no more; without a direction."""
    assert isinstance(call.method, GramAggregator)
    states = _states(call, grams)
    decisions = [
        decide_from_gram(call.method, gram, call.values, state, call.draws)
        for gram, state in zip(grams, states, strict=True)
    ]
    return _together(call, decisions, [None] * len(grams), states)


def _together(
    call: Call, decisions: list[Decision], blocks: Sequence[Tensor | None], states: list[State]
) -> tuple[Decision, list[State]]:
    """One decision of all groups': where one is not finite, the plain sum in all."""
    if len(decisions) > 1 and not all(bool(decision.finite) for decision in decisions):
        decisions = [plain_sum(*three) for three in zip(decisions, blocks, states, strict=True)]
    decision = decisions[0] if call.groups is None else merge(decisions)
    return decision, [one.state for one in decisions]


def _states(call: Call, fed: Sequence[Tensor]) -> list[State]:
    """The method's state for each block of J, or each Gramian, placed where the method wants it."""
    method = call.method
    if call.states is not None:
        states = list(call.states)
    elif isinstance(method, JacobianAggregator):
        states = [method.init_like(block) for block in fed]
    else:
        states = [method.init(len(one)) for one in fed]
    return [placed(state, state_device(method, len(one), one.device)) for state, one in zip(states, fed, strict=True)]


def foreseen(call: Call) -> tuple[Tensor, State] | None:
    """The weights that need no gradient this step, with the state after it; None: the method is to be asked."""
    if call.states is None or not isinstance(call.method, GramAggregator):
        return None
    return call.method.foreseen(call.states[0])


def settled_weights(weights: Tensor, values: Tensor) -> Tensor:
    """`weights` [m] on the device of the losses, or 1 where a loss is not finite."""
    return torch.where(values.isfinite().all(), weights.to(values.device), 1)
