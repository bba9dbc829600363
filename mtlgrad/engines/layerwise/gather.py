"""The passes to the layers' outputs, and what is made of them: G for any block of parameters, and any w @ J."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtlgrad.engines.layerwise import products
from mtlgrad.engines.layerwise.graph import Node, below
from mtlgrad.engines.layerwise.plan import Part, Plan
from mtlgrad.linalg import combine, gram, without_autocast

Gradients = dict[Node, Tensor]
"""Node to the gradient at its first output, or for a leaf at the leaf; only those that something arrives at."""


@dataclass(frozen=True)
class Rows:
    """What one shared parameter's gradients are made of, or these gradients themselves."""

    part: Part
    m: int
    formed: Tensor | None = None
    """[m, n_k]; with it nothing else is needed."""
    left: Tensor | None = None
    """[r, inner] or [r]."""
    right: Tensor | None = None
    """[m, r, outer], or with `owners` [r, outer]."""
    owners: Tensor | None = None
    """[r]: the task of each row."""

    def gram(self) -> Tensor:
        """G [m, m] of this parameter, in float64."""
        if self.formed is not None:
            return gram(self.formed)
        assert self.left is not None
        assert self.right is not None
        inner = products.kernel(self.left)
        if self.owners is None:
            return products.gram_of_rows(inner, self.right)
        return products.gram_of_owned_rows(inner, self.right, self.owners, self.m)

    def combine(self, weights: Tensor) -> Tensor:
        """w @ J for this parameter, in its shape and dtype, for weights [m]."""
        p = self.part.parameter
        if self.formed is not None:
            return combine(weights, self.formed).view(p.shape)
        assert self.right is not None
        use = self.part.uses[0]
        with without_autocast(self.right):
            if self.owners is None:
                right = combine(weights, self.right.flatten(1)).view(self.right.shape[1:])
            else:
                right = self.right * weights.to(self.right)[self.owners].unsqueeze(1)
            return use.shaped(products.gradient(self.left, right, use.inner)).contiguous()


def several_passes(
    plan: Plan, losses: Sequence[Tensor], *, leaves: Sequence[Node], accept: Callable[[Node, Tensor], None], keep: bool
) -> list[Rows]:
    """One pass a task, to the layers' outputs where that suffices.

    Parameters
    ----------
    leaves:
        Further leaves' nodes; `accept` is called with each and its gradient, task by task.
    keep:
        Whether the graph is kept for a further pass.
    """
    collector = _Collector(plan, len(losses))
    for task, loss in enumerate(losses):
        found = _pass([loss], [None], [*collector.nodes, *leaves], keep=keep or task < len(losses) - 1)
        collector.add(task, found)
        _hand_on(found, leaves, accept)
    return collector.rows()


def one_pass(
    plan: Plan, losses: Sequence[Tensor], *, leaves: Sequence[Node], accept: Callable[[Node, Tensor], None], keep: bool
) -> tuple[list[Rows], bool]:
    """All tasks at once from `plan.cut` downwards, if the losses turn out to be of disjoint samples; whether they are.

    Where they are not, the m passes go on from the cut one by one, and nothing was lost.
    """
    cut, m = plan.cut, len(losses)
    assert cut is not None
    inside = below(cut)
    heads = [leaf for leaf in leaves if leaf not in inside]
    trunk = [leaf for leaf in leaves if leaf in inside]
    at_cut: list[Tensor | None] = []
    for task, loss in enumerate(losses):
        found = _pass([loss], [None], [cut, *heads], keep=keep or task < m - 1)
        _hand_on(found, heads, accept)
        at_cut.append(found.get(cut))
    shape, edge = cut._input_metadata[0].shape, GradientEdge(cut, 0)
    owners = _owners(at_cut, shape[0])
    collector = _Collector(plan, m)
    if owners is None:
        for task, arrived in enumerate(at_cut):
            if arrived is not None:
                found = _pass([edge], [arrived], [*collector.nodes, *trunk], keep=keep or task < m - 1)
                collector.add(task, found)
                _hand_on(found, trunk, accept)
        return collector.rows(), False
    arrived = torch.stack([one for one in at_cut if one is not None]).sum(0)
    found = _pass([edge], [arrived], [*collector.nodes, *trunk], keep=keep)
    _hand_on(found, trunk, accept)
    return _owned(plan, found, owners, m), True


def _pass(
    outputs: Sequence[Tensor | GradientEdge], gradients: Sequence[Tensor | None], nodes: Sequence[Node], *, keep: bool
) -> Gradients:
    """One backward pass from `outputs` to the first outputs of `nodes`, into nobody's `.grad`."""
    edges = [GradientEdge(node, 0) for node in nodes]
    if not edges:
        return {}
    found = torch.autograd.grad(outputs, edges, gradients, retain_graph=keep, allow_unused=True)
    return {node: gradient for node, gradient in zip(nodes, found, strict=True) if gradient is not None}


def _hand_on(found: Gradients, leaves: Sequence[Node], accept: Callable[[Node, Tensor], None]) -> None:
    for leaf in leaves:
        if leaf in found:
            accept(leaf, found[leaf])


class _Collector:
    """Takes what one pass a task brings, in the form that each part's way needs it in."""

    def __init__(self, plan: Plan, m: int) -> None:
        self._m, self._parts = m, plan.parts
        self._leaf = [plan.graph.leaves[id(part.parameter)] for part in plan.parts]
        self._rights: list[Tensor | None] = [None] * len(plan.parts)
        self._lefts = [None if part.way == "autograd" else _left(part) for part in plan.parts]
        self.nodes = list(
            dict.fromkeys(
                node
                for part, leaf in zip(plan.parts, self._leaf, strict=True)
                for node in ([leaf] if part.way == "autograd" else [use.node for use in part.uses])
            )
        )

    def add(self, task: int, found: Gradients) -> None:
        for k, part in enumerate(self._parts):
            if part.way == "autograd":
                arrived = found.get(self._leaf[k])
                if arrived is not None:
                    dense = arrived.to_dense() if arrived.layout != torch.strided else arrived
                    self._target(k, dense.numel(), dense)[task].copy_(dense.reshape(-1))
                continue
            start = 0
            for use in part.uses:
                gradient = found.get(use.node)
                if gradient is not None:
                    rows = use.right(gradient)
                    total = sum(one.rows for one in part.uses)
                    target = self._target(k, (total, use.outer), rows)[task]
                    target[start : start + use.rows].copy_(rows)
                start += use.rows

    def _target(self, k: int, shape: int | tuple[int, ...], like: Tensor) -> Tensor:
        target = self._rights[k]
        if target is None:
            shape = (shape,) if isinstance(shape, int) else shape
            target = self._rights[k] = like.new_zeros((self._m, *shape))
        return target

    def rows(self) -> list[Rows]:
        """Of the parameters that some task reaches."""
        found = []
        for part, left, right in zip(self._parts, self._lefts, self._rights, strict=True):
            if right is not None and part.way == "autograd":
                found.append(Rows(part, self._m, formed=right))
            elif right is not None:
                found.append(Rows(part, self._m, left=left, right=right))
        return found


def _left(part: Part) -> Tensor | None:
    """The inputs of all uses, one after the other; read before the graph is gone."""
    lefts = [use.left() for use in part.uses if use.left is not None]
    return torch.cat(lefts) if len(lefts) > 1 else lefts[0] if lefts else None


def _owners(at_cut: Sequence[Tensor | None], samples: int) -> Tensor | None:
    """The task of each sample [samples], 0 for those of none; None where two tasks share a sample."""
    owners: Tensor | None = None
    taken: Tensor | None = None
    for task, arrived in enumerate(at_cut):
        if arrived is None:
            continue
        own = (arrived.reshape(samples, -1) != 0).any(1)
        if owners is None or taken is None:
            owners, taken = torch.zeros(samples, dtype=torch.long, device=own.device), torch.zeros_like(own)
        if bool((taken & own).any()):
            return None
        taken |= own
        owners[own] = task
    return owners


def _owned(plan: Plan, found: Gradients, owners: Tensor, m: int) -> list[Rows]:
    """From one pass, whose rows belong to one task each."""
    rows = []
    for part in plan.parts:
        met = [use for use in part.uses if use.node in found]
        if not met:
            continue
        right = torch.cat([use.right(found[use.node]) for use in met])
        lefts = [use.left() for use in met if use.left is not None]
        left = torch.cat(lefts) if lefts else None
        of_rows = torch.cat([owners.repeat_interleave(use.rows // len(owners)) for use in met])
        if part.way == "kernel":
            rows.append(Rows(part, m, left=left, right=right, owners=of_rows))
        else:
            use = met[0]
            formed = products.gradients_of_owned_rows(left, right, of_rows, m, use.inner)
            shaped = torch.stack([use.shaped(one).reshape(-1) for one in formed.unflatten(1, _raw(use))])
            rows.append(Rows(part, m, formed=shaped))
    return rows
