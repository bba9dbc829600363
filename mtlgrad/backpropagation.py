"""One call of the Balancer: what it is given, and the backward passes that it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.arguments import Scale
from mtlgrad.gradients import TaskGradients
from mtlgrad.method import State
from mtlgrad.scalarizers.base import Scalarizer


@dataclass(frozen=True)
class Losses:
    """What one call is about, in task order."""

    graph: list[Tensor]
    """The losses [] each, multiplied by the scale: what is back-propagated."""
    values: Tensor
    """The losses [m] without the scale, those of earlier micro-batches added."""
    scale: Tensor | None
    """[]."""


@dataclass(frozen=True)
class Window:
    """The micro-batches so far."""

    values: Tensor
    """Their losses, summed [m]."""
    count: int
    of: int | None
    scale: Scale | None
    weights: Tensor | None
    """A scalarizer's [m], for all of them."""
    draws: torch.Generator | None
    """The generator as it was before the weights were drawn."""


def task_gradients(now: Losses, inputs: list[Tensor]) -> TaskGradients:
    """J at `inputs`, leaving `.grad` and the graph alone."""
    gradients = TaskGradients(inputs, len(now.graph), wide=now.scale is not None)
    for task, loss in enumerate(now.graph):
        found = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
        gradients.add(task, found, divisor=now.scale)
    return gradients


def scaled(direction: Tensor, now: Losses) -> Tensor:
    """d [n] as `.grad` has it: times the scale."""
    return direction if now.scale is None else direction * now.scale.to(direction.device)


def weigh(method: Scalarizer, values: Tensor, state: State, draws: torch.Generator | None) -> tuple[Tensor, State]:
    """A scalarizer's weights [m], 1 where the losses are not finite, and the state after them."""
    weights, new = method.step(values, state, generator=draws)
    return torch.where(values.isfinite().all(), weights, 1), new


def weighted(weights: Tensor, losses: list[Tensor]) -> Tensor:
    """The weighted sum [] of losses [] each, in their dtype."""
    return torch.stack([w.to(loss) * loss for w, loss in zip(weights.unbind(), losses, strict=True)]).sum()


def backward(loss: Tensor, *, retain_graph: bool, inputs: list[Tensor] | None) -> None:
    """`torch.autograd.backward` into `inputs`; None: into everything that the graph leads to."""
    try:
        torch.autograd.backward(loss, retain_graph=retain_graph, inputs=inputs)
    except RuntimeError as error:
        if "donated" not in str(error):
            raise
        raise RuntimeError(
            "a torch.compile'd model frees buffers in its first backward pass, and several losses need several passes: "
            "set torch._functorch.config.donated_buffer = False before the model is compiled"
        ) from error


def placed(state: State, device: torch.device) -> State:
    """`state` with its tensors on `device`."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in state.items()}
