"""The autograd graph of a step, read once: who uses which parameter, and which nodes all losses go through."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction

Node = Any
"""A node of the autograd graph, `torch.autograd.graph.Node`; what it has saved differs by its kind."""


@dataclass(frozen=True)
class Graph:
    """All nodes that some losses lead to.

    >>> import torch
    >>> w = torch.ones(2, requires_grad=True)
    >>> graph = read([w.exp().sum(), w.sum()])
    >>> [type(node).__name__ for node, _ in graph.uses_of(w)]
    ['SumBackward0', 'ExpBackward0']
    """

    roots: list[Node]
    users: dict[Node, list[tuple[Node, int]]]
    """Node to those it feeds in the forward pass, each with the number of the argument."""
    leaves: dict[int, Node]
    """The `id` of a leaf tensor to its node."""
    opaque: str
    """The name of a node that is a program of its own, as of a checkpoint or a compiled model; empty: none is."""

    def uses_of(self, parameter: Tensor) -> list[tuple[Node, int]]:
        """The nodes that `parameter` feeds, each with the number of the argument."""
        leaf = self.leaves.get(id(parameter))
        return [] if leaf is None else self.users[leaf]


def read(losses: Sequence[Tensor]) -> Graph:
    """The graph below `losses`; nothing in it is unpacked or changed."""
    roots = [loss.grad_fn for loss in losses if loss.grad_fn is not None]
    users: dict[Node, list[tuple[Node, int]]] = {root: [] for root in roots}
    leaves: dict[int, Node] = {}
    open_nodes: list[Node] = list(users)
    opaque = ""
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, BackwardCFunction) and type(node).__name__ != "BackwardHookFunctionBackward":
            opaque = type(node).__name__
        for argument, (source, _) in enumerate(node.next_functions):
            if source is None:
                continue
            if source in users:
                users[source].append((node, argument))
                continue
            users[source] = [(node, argument)]
            if hasattr(source, "variable"):
                leaves[id(source.variable)] = source
            else:
                open_nodes.append(source)
    return Graph(roots, users, leaves, opaque)


def glance(losses: Sequence[Tensor], nodes: int) -> tuple[object, ...]:
    """Kinds and shapes of the first nodes below `losses`, at most so many: what tells one graph from the next."""
    open_nodes: list[Node] = [loss.grad_fn for loss in losses if loss.grad_fn is not None]
    seen = set(open_nodes)
    found: list[object] = []
    for node in open_nodes:  # grows as it is walked, the losses' neighbours first
        if len(found) >= 2 * nodes:
            break
        metadata = node._input_metadata
        found += [type(node), tuple(metadata[0].shape) if metadata else None]
        for source, _ in node.next_functions:
            if source is not None and source not in seen:
                seen.add(source)
                open_nodes.append(source)
    return tuple(found)


def shape_of(node: Node) -> tuple[int, ...]:
    """The shape of the first output."""
    return tuple(node._input_metadata[0].shape)


def hooked(node: Node, *names: str) -> bool:
    """Whether what the node has saved under `names` goes through hooks: reading it may run a part of the model again.

    Where torch does not say (before 2.8), hooks are presumed.
    """
    return any(getattr(getattr(node, f"_raw_saved_{name}"), "unpack_hook", _PRESUMED) is not None for name in names)


_PRESUMED = object()


def above(graph: Graph, leaves: Iterable[Node]) -> set[Node]:
    """The nodes through which the losses reach any of `leaves`, these included."""
    found = set(leaves)
    open_nodes = list(found)
    while open_nodes:
        for user, _ in graph.users[open_nodes.pop()]:
            if user not in found:
                found.add(user)
                open_nodes.append(user)
    return found


def bottlenecks(graph: Graph, live: set[Node]) -> list[Node]:
    """The nodes that lie on every path from every loss down to a leaf in `live`, from the losses downwards.

    Only those with a single output: the gradients at it are all that arrives below.
    """
    waiting = {node: len(graph.users[node]) for node in live}
    seen = {root for root in graph.roots if root in live}
    ready = [root for root in seen if not waiting[root]]
    unvisited = len(seen)  # nodes that a visited one leads to, or losses
    found = []
    while ready:
        node = ready.pop()
        if unvisited == 1 and len(node._input_metadata) == 1 and not hasattr(node, "variable"):
            found.append(node)
        unvisited -= 1
        for source, _ in node.next_functions:
            if source not in live:
                continue
            if source not in seen:
                seen.add(source)
                unvisited += 1
            waiting[source] -= 1
            if not waiting[source]:
                ready.append(source)
    return found
