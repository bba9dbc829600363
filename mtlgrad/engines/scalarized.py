"""Methods that read the losses only: one backward pass, of the weighted losses."""

from __future__ import annotations

import torch
from torch import Tensor

from mtlgrad.decision import Decision, outcome, select_state
from mtlgrad.engines.base import Call, Cost, Engine, Outcome
from mtlgrad.engines.passes import task_gradients, weighted, weighted_pass_if_finite
from mtlgrad.method import State
from mtlgrad.scalarizers.base import Scalarizer
from mtlgrad.states import placed


class Scalarized(Engine):
    """For every scalarizer. On steps that are to be diagnosed G is measured on the way, for m more passes."""

    name = "weighted losses"
    processes = ("one", "replicated", "sharded")

    def refuses(self, call: Call) -> str | None:
        if call.diagnose and call.processes.kind == "sharded":
            return "diagnose_every measures gradients one parameter at a time, which sharded ones do not allow"
        return None if isinstance(call.method, Scalarizer) else f"{call.method.name} reads gradients"

    def cost(self, call: Call) -> Cost:
        if not call.diagnose:
            return Cost(1, 0)
        m = len(call.losses)
        return Cost(m + 1, m * sum(p.numel() * p.element_size() for p in call.trainable))

    def collect(self, call: Call) -> tuple[Tensor, torch.Generator, list[int]]:
        """Weights are fixed at the first micro-batch, for all: its losses times their number stand for the whole."""
        if call.window is None:
            draws = call.draws.clone_state()
            weights, _ = _weigh(call, call.values * (call.of or 1), call.draws)
        else:
            weights, draws, positions = call.window.held
            _check_same(call, positions)
        loss = weighted(weights[list(call.rows)], call.losses)
        call.processes.backward(loss, retain_graph=False, inputs=call.inputs())
        return weights, draws, list(call.anywhere)

    def run(self, call: Call) -> Outcome:
        """At the end of a window the state moves by the losses of all micro-batches."""
        if call.window is None:
            weights, new = _weigh(call, call.values, call.draws)
        else:
            # The same draws once more: the step that the large batch would have taken, but for its weights.
            weights, draws, positions = call.window.held
            _check_same(call, positions)
            _, new = _weigh(call, call.values, draws)
        gram, alignment, norm, separate = None, None, None, False
        if call.diagnose and call.trainable:
            gradients = task_gradients(call, call.trainable)
            call.processes.mean_jacobian(gradients)
            gram, separate = gradients.gram(), gradients.separate
            alignment, norm = outcome(gram, weights.to(gram))
        finite = weighted_pass_if_finite(call, weights)
        decision = Decision(finite=finite, weights=weights, gram=gram, alignment=alignment, direction_norm=norm)
        return Outcome(decision, [select_state(finite, new, _state(call))], separate=separate)


def _check_same(call: Call, positions: list[int]) -> None:
    if list(call.anywhere) != positions:
        raise ValueError(
            f"losses: {call.method.name} fixes its weights at the first micro-batch of a window, for the tasks that "
            "have a loss there: the same tasks must be present, or absent, in all micro-batches of the window"
        )


def _state(call: Call) -> State:
    if call.states is None:
        return call.method.init(len(call.values), device=call.values.device)
    return placed(call.states[0], call.values.device)


def _weigh(call: Call, values: Tensor, draws: torch.Generator) -> tuple[Tensor, State]:
    """The weights [m], 1 where the losses are not finite, and the state after them."""
    assert isinstance(call.method, Scalarizer)
    weights, new = call.method.step(values, _state(call), generator=draws)
    return torch.where(values.isfinite().all(), weights, 1), new
