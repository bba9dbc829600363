"""One backward pass a task: J is formed, and the method is asked about it."""

from __future__ import annotations

from mtlgrad.aggregators.base import GradientAggregator
from mtlgrad.engines.asking import ask, foreseen
from mtlgrad.engines.base import Call, Cost, Engine, Outcome
from mtlgrad.engines.passes import add_to_grad, backward, scaled, weighted_pass
from mtlgrad.gradients import TaskGradients


class PerTask(Engine):
    """The plain way, for every method that reads gradients: what the others are measured against.

    The rows of J are read off `.grad`, for `Tensor.backward` supports more than `autograd.grad` does: reentrant
    checkpointing, gradient hooks, parameters that nobody listed.
    """

    name = "one pass a task"

    def __init__(self) -> None:
        self._buffer: TaskGradients | None = None

    def refuses(self, call: Call) -> str | None:
        if not isinstance(call.method, GradientAggregator):
            return f"{call.method.name} reads losses only"
        if call.features is not None:
            return "features= asks for the decision at the representation"
        return None

    def cost(self, call: Call) -> Cost:
        m = len(call.losses)
        width = max(p.element_size() for p in call.shared)
        passes = m + 1 if call.apply == "loss" else m
        return Cost(passes, m * width * sum(p.numel() for p in call.shared))

    def collect(self, call: Call) -> None:
        self._collect(call, retain_graph=False)

    def run(self, call: Call) -> Outcome:
        settled = foreseen(call) is not None
        if not settled:
            call.method.check_values(call.values)
        gradients = self._collect(call, retain_graph=call.retain_graph or call.apply == "loss")
        call.processes.mean_jacobian(gradients.matrix)
        decision, states = ask(call, gradients.block_matrices())
        if call.apply == "loss":
            assert decision.weights is not None
            weighted_pass(call, decision.weights)
        else:
            assert decision.direction is not None
            add_to_grad(call.shared, gradients.split(scaled(decision.direction, call)))
        return Outcome(decision, states, settled)

    def _collect(self, call: Call, *, retain_graph: bool) -> TaskGradients:
        """Rows of J for the shared parameters, and with apply="shared" `.grad` for the private ones."""
        found = self._rows(call)
        # With apply="loss" the private parameters wait for the weighted pass.
        inputs = call.trainable if call.apply == "loss" else call.inputs()
        kept = [p.grad for p in call.shared]
        try:
            for task, loss in enumerate(call.losses):
                for p in call.shared:
                    p.grad = None
                if inputs != []:  # a frozen trunk has zero gradients
                    backward(loss, retain_graph=retain_graph or task < len(call.losses) - 1, inputs=inputs)
                found.add(task, [p.grad for p in call.shared], divisor=call.scale)
        finally:
            for p, old in zip(call.shared, kept, strict=True):
                p.grad = old
        return found

    def _rows(self, call: Call) -> TaskGradients:
        """Where J goes: zeros, or inside a window the rows so far."""
        m, wide = len(call.losses), call.scale is not None
        if self._buffer is not None and self._buffer.fits(call.shared, m, wide=wide):
            if call.window is None:
                self._buffer.zero()
            return self._buffer
        if call.window is not None:
            raise ValueError("shared parameters changed their dtype or device inside a window of micro-batches")
        self._buffer = None  # the old one makes room
        self._buffer = TaskGradients(call.shared, m, blocks=call.groups, wide=wide)
        return self._buffer
