"""The decision at the shared representation: m passes through the heads, one through the trunk."""

from __future__ import annotations

import torch

from mtlgrad.aggregators.base import GradientAggregator
from mtlgrad.engines.asking import ask, foreseen
from mtlgrad.engines.base import Call, Cost, Engine, Outcome
from mtlgrad.engines.passes import backward, scaled, task_gradients, weighted_pass


class AtFeatures(Engine):
    """MGDA-UB's way (Sener & Koltun 2018, Sec. 3.3) for any method that reads gradients."""

    name = "at the features"

    def refuses(self, call: Call) -> str | None:
        if call.features is None:
            return "no features= were given"
        if not isinstance(call.method, GradientAggregator):
            return f"{call.method.name} reads losses only"
        return None

    def cost(self, call: Call) -> Cost:
        assert call.features is not None
        entries = sum(z.numel() * z.element_size() for z in call.features)
        return Cost(2, len(call.losses) * entries)  # heads are small beside the trunk: m of theirs count as one

    def run(self, call: Call) -> Outcome:
        assert call.features is not None
        settled = foreseen(call) is not None
        if not settled:
            call.method.check_values(call.values)
        gradients = task_gradients(call, call.features)
        if gradients.untouched:
            raise ValueError(
                f"features[{gradients.untouched[0]}]: no loss depends on it; pass the very tensor that the heads are "
                "fed with, not a copy or a view made beside it"
            )
        call.processes.mean_jacobian(gradients.matrix)
        decision, states = ask(call, [gradients.matrix], call.features[0])
        if call.apply == "loss":
            assert decision.weights is not None
            weighted_pass(call, decision.weights)
            return Outcome(decision, states, settled)
        assert decision.direction is not None
        # The heads take their own tasks' gradients from the plain sum; at z the direction replaces what arrives.
        handles = [
            z.register_hook(lambda _, piece=piece: piece)
            for z, piece in zip(call.features, gradients.split(scaled(decision.direction, call)), strict=True)
        ]
        try:
            backward(torch.stack(list(call.losses)).sum(), retain_graph=call.retain_graph, inputs=call.inputs())
        finally:
            for handle in handles:
                handle.remove()
        return Outcome(decision, states, settled)
