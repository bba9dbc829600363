"""Backward passes, and the two ways of adding an update to `.grad`, which engines are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mtlgrad.engines.base import Call
from mtlgrad.engines.graph import Graph, Node
from mtlgrad.engines.processes import backward
from mtlgrad.gradients import TaskGradients

__all__ = [
    "add_to_grad",
    "backward",
    "scaled",
    "task_gradients",
    "weighted",
    "weighted_pass",
    "weighted_pass_if_finite",
]


def task_gradients(call: Call, inputs: Sequence[Tensor]) -> TaskGradients:
    """J at `inputs`, leaving `.grad` and the graph alone."""
    gradients = TaskGradients(inputs, len(call.present), device=call.device, wide=call.scale is not None)
    for task, loss in zip(call.rows, call.losses, strict=True):
        found = torch.autograd.grad(loss, list(inputs), retain_graph=True, allow_unused=True)
        gradients.add(task, found, divisor=call.scale)
    return gradients


def weighted_pass(call: Call, weights: Tensor) -> None:
    """One backward pass, of the losses multiplied by `weights` [m]: whole losses, private parameters included."""
    loss = weighted(weights[list(call.rows)], call.losses)
    call.processes.backward(loss, retain_graph=call.retain_graph, inputs=call.inputs())
    call.processes.mean_gradients(call.trainable, call.private)


def weighted(weights: Tensor, losses: Sequence[Tensor]) -> Tensor:
    """The weighted sum [] of losses [] each, in their dtype."""
    return torch.stack([w.to(loss) * loss for w, loss in zip(weights.unbind(), losses, strict=True)]).sum()


def weighted_pass_if_finite(call: Call, weights: Tensor) -> Tensor:
    """`weighted_pass`, with weights that no gradient was asked for; bool []: losses and shared gradients are finite."""
    weighted_pass(call, weights)
    gradients = [p.grad for p in call.trainable if p.grad is not None]
    finite = [_entries(g).isfinite().all() for g in gradients]
    return call.processes.all_finite(torch.stack([call.values.isfinite().all().to(call.device), *finite]).all())


def _entries(gradient: Tensor) -> Tensor:
    """What a sparse gradient holds, or this rank's part of a sharded one."""
    if gradient.is_sparse:
        return gradient._values()
    return gradient.to_local() if hasattr(gradient, "to_local") else gradient


def private_leaves(call: Call, graph: Graph) -> list[Node]:
    """The nodes of the private parameters that the losses reach."""
    shared = {id(p) for p in call.shared}
    allowed = None if call.private is None else {id(p) for p in call.private}
    return [leaf for name, leaf in graph.leaves.items() if name not in shared and (allowed is None or name in allowed)]


def accumulate(leaf: Node, gradient: Tensor) -> None:
    """Into the `.grad` of a leaf's node, as a backward pass would, hooks after accumulation included."""
    leaf(gradient)


def scaled(direction: Tensor, call: Call) -> Tensor:
    """d [n] as `.grad` has it: times the scale."""
    return direction if call.scale is None else direction * call.scale.to(direction.device)


def add_to_grad(parameters: Iterable[Tensor], pieces: Iterable[Tensor | None]) -> None:
    """Add one gradient to each parameter's `.grad`; None leaves it as it is."""
    for p, piece in zip(parameters, pieces, strict=True):
        old = p.grad
        if old is None:
            # `.data` counts its own changes, which `serve` reads; pieces of one direction count theirs together.
            p.grad = None if piece is None else piece.data
        elif piece is not None:
            p.grad = piece + old if old.is_sparse else old.add_(piece)
