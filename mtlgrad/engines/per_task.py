"""One backward pass a task: J is formed, and the method is asked about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from torch import Tensor

from mtlgrad.aggregators.base import GradientAggregator
from mtlgrad.decision import Decision
from mtlgrad.engines.asking import ask, foreseen
from mtlgrad.engines.base import Call, Cost, Engine, Outcome
from mtlgrad.engines.passes import add_to_grad, scaled, weighted_pass
from mtlgrad.engines.processes import Kind
from mtlgrad.gradients import TaskGradients
from mtlgrad.method import State


class PerTask(Engine):
    """The plain way, for every method that reads gradients: what the others are measured against.

    The rows of J are read off `.grad`, for `Tensor.backward` supports more than `autograd.grad` does: reentrant
    checkpointing, gradient hooks, parameters that nobody listed.
    """

    name = "one pass a task"
    processes: ClassVar[tuple[Kind, ...]] = ("one", "replicated")

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
        width = max((p.element_size() for p in call.trainable), default=0)
        passes = m + 1 if call.apply == "loss" else m
        return Cost(passes, m * width * sum(p.numel() for p in call.trainable))

    def collect(self, call: Call) -> None:
        self._collect(call, call.positions, retain_graph=False)

    def run(self, call: Call) -> Outcome:
        settled = foreseen(call) is not None
        if not settled:
            call.method.check_values(call.values)
        # In a window each task keeps its row; else the present tasks come first, and J is a view.
        rows = call.rows if call.window is None else call.positions
        gradients = self._collect(call, rows, retain_graph=call.retain_graph or call.apply == "loss")
        decided = range(len(call.present)) if call.window is None else call.present
        decision, states = self._decide(call, gradients, decided)
        if call.apply == "loss":
            assert decision.weights is not None
            weighted_pass(call, decision.weights)
        else:
            assert decision.direction is not None
            add_to_grad(call.trainable, self._pieces(call, gradients, scaled(decision.direction, call)))
            call.processes.mean_gradients(call.trainable, call.private, decided=True)
        return Outcome(decision, states, settled, gradients.separate)

    def _collect(self, call: Call, rows: Sequence[int], *, retain_graph: bool) -> TaskGradients:
        """Rows of J for the shared parameters, and with apply="shared" `.grad` for the private ones."""
        found = self._zeros(call)
        # With apply="loss" the private parameters wait for the weighted pass.
        inputs = list(call.trainable) if call.apply == "loss" else call.inputs()
        kept = [p.grad for p in call.trainable]
        try:
            for row, loss in zip(rows, call.losses, strict=True):
                for p in call.trainable:
                    p.grad = None
                if inputs != []:  # a frozen trunk has no gradients
                    again = retain_graph or loss is not call.losses[-1]
                    call.processes.backward(loss, retain_graph=again, inputs=inputs)
                found.add(row, [self._read(call, p.grad) for p in call.trainable], divisor=call.scale)
        finally:
            for p, old in zip(call.trainable, kept, strict=True):
                p.grad = old
        return found

    def _decide(self, call: Call, gradients: TaskGradients, rows: Sequence[int]) -> tuple[Decision, list[State]]:
        """The decision about some rows of J."""
        call.processes.mean_jacobian(gradients)
        return ask(call, gradients.block_matrices(rows))

    def _parts(self, call: Call) -> list[Tensor]:
        """What J has columns for."""
        return list(call.trainable)

    def _read(self, call: Call, gradient: Tensor | None) -> Tensor | None:
        """What a parameter's `.grad` contributes to a row of J."""
        return gradient

    def _pieces(self, call: Call, gradients: TaskGradients, direction: Tensor) -> Iterator[Tensor | None]:
        """The direction as one gradient a parameter."""
        return gradients.split(direction)

    def _zeros(self, call: Call) -> TaskGradients:
        """Where J goes: zeros, or inside a window the rows so far."""
        wide, parts = call.scale is not None, self._parts(call)
        if self._buffer is not None and self._buffer.fits(parts, call.tasks, blocks=call.groups, wide=wide):
            if call.window is None:
                self._buffer.zero()
            return self._buffer
        if call.window is not None:
            raise ValueError(
                "shared parameters changed their shape, memory layout, dtype or device, or were frozen or unfrozen, "
                "inside a window of micro-batches"
            )
        self._buffer = None  # the old one makes room
        self._buffer = TaskGradients(parts, call.tasks, device=call.device, blocks=call.groups, wide=wide)
        return self._buffer
