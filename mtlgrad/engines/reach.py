"""What losses lead to: a walk through the autograd graph, which costs less than one operation a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge


@dataclass
class Reach:
    """What was met on the way from some tensors back to the leaves."""

    leaves: dict[int, Tensor] = field(default_factory=dict)
    """Every leaf that would get a gradient, by its id."""
    opaque: bool = False
    """A `torch.autograd.Function` was met, whose own graph, if it makes one, nobody sees."""
    reentrant: bool = False
    """A checkpoint with use_reentrant=True was met: what it leads to is not among the leaves."""
    stops: set[int] = field(default_factory=set)
    """Which of the tensors where the walk was to stop were met."""

    def reaches(self, tensors: Sequence[Tensor]) -> bool:
        return any(id(one) in self.leaves for one in tensors)


def reach(outputs: Sequence[Tensor], stops: Sequence[Tensor] = ()) -> Reach:
    """Walk from `outputs` to the leaves, and no further than `stops`."""
    found = Reach()
    ends = {_key(z): k for k, z in enumerate(stops)}
    edges: list[tuple[Any, int]] = [_key(one) for one in outputs if one.requires_grad]
    seen: set[Any] = set()
    while edges:
        node, output = edges.pop()
        if node is None:
            continue
        if (node, output) in ends:
            found.stops.add(ends[node, output])
            continue
        if node in seen:
            continue
        seen.add(node)
        if type(node).__name__ == "AccumulateGrad":
            found.leaves[id(node.variable)] = node.variable
            continue
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            found.opaque = True
            found.reentrant |= type(node).__name__ == "CheckpointFunctionBackward"
        edges.extend(node.next_functions)
    return found


def _key(tensor: Tensor) -> tuple[Any, int]:
    edge = get_gradient_edge(tensor)
    return edge.node, edge.output_nr
