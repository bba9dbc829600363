"""Parameters in blocks: G is summed up block by block, J is never whole, and one weighted pass makes the direction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.engines.asking import ask_from_grams, foreseen
from mtlgrad.engines.base import Call, Cost, Engine, Outcome
from mtlgrad.engines.graph import Node, read
from mtlgrad.engines.passes import accumulate, backward, private_leaves, weighted, weighted_pass
from mtlgrad.engines.processes import Processes
from mtlgrad.linalg import gram

_WIDENED = 1 << 14  # entries of J that are looked at together


class InBlocks(Engine):
    """For methods that need the weights only, where memory is short and time is not.

    Beside what a plain backward pass takes, it holds the m gradients of one block of parameters at a time. A block is
    as long as the longest parameter, and each takes m backward passes, down to where its parameters are.
    """

    name = "parameters in blocks"

    def refuses(self, call: Call) -> str | None:
        if not isinstance(call.method, GramAggregator):
            return f"{call.method.name} needs more than the Gramian"
        if call.features is not None:
            return "features= asks for the decision at the representation"
        if call.window is not None or not call.ends:
            return "the gradients of micro-batches add up before G is formed"
        if type(call.processes) is not Processes:
            return "gradients averaged over processes are averaged whole"
        if not call.trainable:
            return "every shared parameter is frozen"
        if call.memory == "lean" and read(call.losses).opaque == "CheckpointFunctionBackward":
            return "a reentrant checkpoint has backward passes to all parameters only"
        return None

    def cost(self, call: Call) -> Cost:
        m, blocks = len(call.losses), list(_blocks(call))
        size = max(sum(p.numel() * p.element_size() for p in block) for _, block in blocks)
        last = 1 if call.apply == "loss" else len(call.bounds)
        return Cost(m * len(blocks) + last, m * size)

    def run(self, call: Call) -> Outcome:
        settled = foreseen(call) is not None
        if not settled:
            call.method.check_values(call.values)
        decision, states = ask_from_grams(call, self._grams(call))
        assert decision.weights is not None
        if call.apply == "loss":
            weighted_pass(call, decision.weights)
            return Outcome(decision, states, settled)
        weights = [decision.weights] if call.groups is None else list(decision.weights.unbind())
        groups = [list(call.trainable[first:last]) for first, last in call.bounds]
        passes = [(own, group) for own, group in zip(weights, groups, strict=True) if group]
        for k, (own, group) in enumerate(passes):
            keep = call.retain_graph or k < len(passes) - 1
            backward(weighted(own, call.losses), retain_graph=keep, inputs=group)
        return Outcome(decision, states, settled)

    @torch.no_grad()
    def _grams(self, call: Call) -> list[Tensor]:
        """G [m, m] of each group; with apply="shared" the private parameters get their gradients on the way."""
        m = len(call.losses)
        grams = [torch.zeros(m, m, dtype=torch.float64, device=call.device) for _ in call.bounds]
        leaves = [] if call.apply == "loss" else private_leaves(call, read(call.losses))
        for group, block in _blocks(call):
            rows = [_row(loss, block, leaves) for loss in call.losses]
            grams[group] += _gram(rows, block)
            leaves = []  # once is enough
            del rows  # before those of the next block come
        if call.scale is not None:
            grams = [gram / call.scale.to(gram).square() for gram in grams]
        return grams


def _blocks(call: Call) -> Iterator[tuple[int, list[Tensor]]]:
    """Number of the group, and some of its parameters in order: as many as are no longer than the longest of all."""
    longest = max(p.numel() for p in call.trainable)
    for group, (first, last) in enumerate(call.bounds):
        block: list[Tensor] = []
        for p in call.trainable[first:last]:
            if block and sum(one.numel() for one in block) + p.numel() > longest:
                yield group, block
                block = []
            block.append(p)
        if block:
            yield group, block


def _row(loss: Tensor, block: Sequence[Tensor], leaves: Sequence[Node]) -> Sequence[Tensor | None]:
    """One task's gradients of a block; those of further leaves' nodes go where they belong."""
    edges = [*map(get_gradient_edge, block), *(GradientEdge(leaf, 0) for leaf in leaves)]
    found = torch.autograd.grad(loss, edges, retain_graph=True, allow_unused=True)
    for leaf, gradient in zip(leaves, found[len(block) :], strict=True):
        if gradient is not None:
            accumulate(leaf, gradient)
    return found[: len(block)]


def _gram(rows: Sequence[Sequence[Tensor | None]], block: Sequence[Tensor]) -> Tensor:
    """G [m, m] in float64 of one block, from each task's gradients; a few columns are side by side at a time."""
    m = len(rows)
    total = torch.zeros(m, m, dtype=torch.float64, device=block[0].device)
    width = max(1, _WIDENED // m)
    for k, p in enumerate(block):
        flat = [None if row[k] is None else _flat(row[k]) for row in rows]
        for start in range(0, p.numel(), width):
            size = min(width, p.numel() - start)
            pieces = [p.new_zeros(size) if one is None else one[start : start + size] for one in flat]
            total += gram(torch.stack(pieces).double())
    return total


def _flat(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return (gradient.to_dense() if gradient.layout != torch.strided else gradient).reshape(-1)
