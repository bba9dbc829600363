"""Weights that were settled at an earlier step: one backward pass, of the weighted losses."""

from __future__ import annotations

from mtlgrad.decision import Decision, select_state
from mtlgrad.engines.asking import foreseen, settled_weights
from mtlgrad.engines.base import Call, Cost, Engine, Outcome
from mtlgrad.engines.passes import weighted_pass_if_finite


class Settled(Engine):
    """For methods that hold their weights over several steps (`Every`), where these multiply whole losses."""

    name = "held weights"
    processes = ("one", "replicated")

    def refuses(self, call: Call) -> str | None:
        if foreseen(call) is None:
            return "the method's weights for this step are not known before its gradients"
        if call.apply != "loss":
            return "with apply='shared' the private parameters need their own tasks' gradients"
        if call.diagnose:
            return "diagnose_every asks for the Gramian at this step"
        return None

    def cost(self, call: Call) -> Cost:
        return Cost(1, 0)

    def run(self, call: Call) -> Outcome:
        known = foreseen(call)
        assert known is not None
        assert call.states is not None
        held, new = known
        weights = settled_weights(held, call.values)
        finite = weighted_pass_if_finite(call, weights)
        state = select_state(finite.to(held.device), new, call.states[0])
        return Outcome(Decision(finite=finite, weights=weights), [state], settled=True)
