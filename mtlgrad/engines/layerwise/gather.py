"""The passes to the layers' outputs, and what is made of them: G for any block of parameters, and any w @ J."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtlgrad.engines.graph import Node, shape_of
from mtlgrad.engines.layerwise import products
from mtlgrad.engines.layerwise.plan import Part, Plan
from mtlgrad.engines.layerwise.samples import below, entries_of
from mtlgrad.engines.layerwise.uses import Use
from mtlgrad.gradients import TaskGradients
from mtlgrad.linalg import combine, gram

Gradients = dict[Node, Tensor]
"""Node to the gradient at its first output, or for a leaf at the leaf; only those that something arrives at."""


@dataclass(frozen=True)
class Rows:
    """What one shared parameter's gradients are made of."""

    part: Part
    left: Tensor
    """[r, inner] or [r]."""
    rights: Sequence[Tensor]
    """[r, outer] of each task, or with `owners` of all together."""
    owners: Tensor | None = None
    """[r]: the task of each row."""

    def gram(self, m: int) -> Tensor:
        """G [m, m] of this parameter, in float64."""
        inner = products.kernel(self.left)
        if self.owners is None:
            return products.gram_of_rows(inner, self.rights)
        return products.gram_of_owned_rows(inner, self.rights[0], self.owners, m)

    def combine(self, weights: Tensor, gram: Tensor) -> Tensor:
        """w @ J for this parameter, in its shape and dtype, for weights [m] decided from G = `gram`."""
        use = self.part.uses[0]
        if self.owners is None:
            right = products.combined_rows(weights, self.rights, gram)
        else:
            right = self.rights[0] * weights.to(self.rights[0])[self.owners].unsqueeze(1)
        return use.shaped(products.gradient(self.left, right, use.inner))


@dataclass(frozen=True)
class Gathered:
    """J without its being formed: G of any run of shared parameters, and w @ J."""

    m: int
    rows: Mapping[int, Rows]
    """By the parameter's number among the shared ones."""
    parts: Sequence[Part]
    """Those whose gradients are in `formed`."""
    formed: TaskGradients
    """[m, n'] over `parts`; for the way "rows" the columns of a part follow the rows, see `Use.raw`."""

    def gram(self, first: int, last: int) -> Tensor:
        """G [m, m] in float64 of the shared parameters from number `first` up to, and without, `last`."""
        found = [rows.gram(self.m) for k, rows in self.rows.items() if first <= k < last]
        if self._columns(first, last).shape[1]:
            found.append(gram(self._columns(first, last)))
        zero = torch.zeros(self.m, self.m, dtype=torch.float64, device=self.formed.matrix.device)
        return torch.stack(found).sum(0) if found else zero

    def combine(self, weights: Tensor, gram: Tensor, first: int, last: int) -> Iterator[tuple[int, Tensor]]:
        """w @ J for weights [m] decided from G = `gram`: each number with its piece."""
        for k, rows in self.rows.items():
            if first <= k < last:
                yield k, rows.combine(weights, gram)
        inside = [k for k, part in enumerate(self.parts) if first <= part.number < last]
        if not inside:
            return
        flat = combine(weights, self._columns(first, last), gram)
        start = 0
        untouched = set(self.formed.untouched)
        for k in inside:
            part = self.parts[k]
            piece = flat[start : start + part.parameter.numel()]
            start += part.parameter.numel()
            if k not in untouched:
                shaped = part.uses[0].shaped(piece.view(part.uses[0].raw)) if part.way == "rows" else piece
                yield part.number, shaped.reshape(part.parameter.shape).to(part.parameter.dtype)

    def _columns(self, first: int, last: int) -> Tensor:
        sizes = [part.parameter.numel() if part.number < last else 0 for part in self.parts]
        start = sum(size for part, size in zip(self.parts, sizes, strict=True) if part.number < first)
        return self.formed.matrix[:, start : sum(sizes)]


def several_passes(
    plan: Plan, losses: Sequence[Tensor], *, leaves: Sequence[Node], accept: Callable[[Node, Tensor], None], keep: bool
) -> Gathered:
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
        found = _pass([loss], [*collector.nodes, *leaves], keep=keep or task < len(losses) - 1)
        collector.add(task, found)
        _hand_on(found, leaves, accept)
    return collector.gathered()


def one_pass(
    plan: Plan, losses: Sequence[Tensor], *, leaves: Sequence[Node], accept: Callable[[Node, Tensor], None], keep: bool
) -> tuple[Gathered, bool]:
    """All tasks at once from `plan.cut` downwards, if the losses turn out to be of disjoint samples; whether they are.

    Where they are not, the m passes go on from the cut one by one, and nothing was lost.
    """
    cut, m = plan.cut, len(losses)
    assert cut is not None
    inside = below(cut)
    heads = [leaf for leaf in leaves if leaf not in inside]
    trunk = [leaf for leaf in leaves if leaf in inside]
    samples, device = shape_of(cut)[0], plan.parts[0].parameter.device
    entries = entries_of(cut, losses)
    owners: Tensor | None
    if entries is not None and not heads:
        owners = torch.zeros(samples, dtype=torch.long, device=device)
        owners[entries] = torch.arange(m, device=device)
    else:
        at_cut: list[Tensor | None] = []
        for loss in losses:
            found = _pass([loss], [cut, *heads], keep=True)
            _hand_on(found, heads, accept)
            at_cut.append(found.get(cut))
        owners = _owners(at_cut, samples)
    if owners is None:
        return several_passes(plan, losses, leaves=trunk, accept=accept, keep=keep), False
    lefts = {use: use.left() for part in plan.owned for use in part.uses if use.left is not None}
    nodes = [*dict.fromkeys(use.node for part in plan.owned for use in part.uses), *trunk]
    # From the losses once more, and not from the cut: a hook on the cut's output has its say once.
    found = _pass(losses, nodes, keep=keep)
    _hand_on(found, trunk, accept)
    return _owned(plan.owned, lefts, found, owners, m), True


def _pass(losses: Sequence[Tensor], nodes: Sequence[Node], *, keep: bool) -> Gradients:
    """One backward pass from the sum of `losses` to the first outputs of `nodes`, into nobody's `.grad`."""
    if not nodes:
        return {}
    passed: Gradients = {}
    # Of a node that the pass goes on through, autograd hands out what arrived before the hooks of its output's tensor
    # were run; what the node itself is given is right.
    handles = [node.register_prehook(_keeper(passed, node)) for node in nodes if not hasattr(node, "variable")]
    try:
        edges = [GradientEdge(node, 0) for node in nodes]
        found = torch.autograd.grad(losses, edges, retain_graph=keep, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    arrived = {node: gradient for node, gradient in zip(nodes, found, strict=True) if gradient is not None}
    return {**arrived, **passed}


def _keeper(passed: Gradients, node: Node) -> Callable[[tuple[Tensor | None, ...]], None]:
    def keep(gradients: tuple[Tensor | None, ...]) -> None:
        if gradients[0] is not None:
            passed[node] = gradients[0]

    return keep


def _hand_on(found: Gradients, leaves: Sequence[Node], accept: Callable[[Node, Tensor], None]) -> None:
    for leaf in leaves:
        if leaf in found:
            accept(leaf, found[leaf])


class _Collector:
    """Takes what one pass a task brings, in the form that each part's way needs it in."""

    def __init__(self, plan: Plan, m: int) -> None:
        self._m = m
        self._formed = [part for part in plan.parts if part.way != "kernel"]
        self._leaves = [plan.graph.leaves[id(part.parameter)] for part in self._formed]
        self._gradients = _buffer(plan.parts, m)
        self._kernels = [part for part in plan.parts if part.way == "kernel"]
        self._lefts = [_joined([use.left() for use in part.uses if use.left]) for part in self._kernels]
        self._rights: list[list[Tensor | None]] = [[] for _ in self._kernels]
        self.nodes = [*dict.fromkeys(use.node for part in self._kernels for use in part.uses), *self._leaves]

    def add(self, task: int, found: Gradients) -> None:
        self._gradients.add(task, [found.get(leaf) for leaf in self._leaves])
        for part, rights in zip(self._kernels, self._rights, strict=True):
            rights += [None] * (task - len(rights))
            if any(use.node in found for use in part.uses):
                rights.append(_joined(_rights(part.uses, found)))

    def gathered(self) -> Gathered:
        rows: dict[int, Rows] = {}
        for part, left, rights in zip(self._kernels, self._lefts, self._rights, strict=True):
            known = [right for right in rights if right is not None]
            if known:
                rights += [None] * (self._m - len(rights))
                zero = torch.zeros_like(known[0])
                rows[part.number] = Rows(part, left, [zero if right is None else right for right in rights])
        return Gathered(self._m, rows, self._formed, self._gradients)


def _rights(uses: Sequence[Use], found: Gradients) -> list[Tensor]:
    """One task's rows of every use, zeros where nothing arrives."""
    known = {use.node: use.right(found[use.node]) for use in uses if use.node in found}
    like = next(iter(known.values()))
    return [known[use.node] if use.node in known else like.new_zeros(use.rows, use.outer) for use in uses]


def _buffer(parts: Sequence[Part], m: int) -> TaskGradients:
    formed = [part.parameter for part in parts if part.way != "kernel"]
    return TaskGradients(formed or [parts[0].parameter.new_empty(0)], m)


def _joined(pieces: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(pieces)) if len(pieces) > 1 else pieces[0]


def _owners(at_cut: Sequence[Tensor | None], samples: int) -> Tensor | None:
    """The task of each sample [samples], 0 for those of none; None: two tasks share a sample, or nothing arrives."""
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


def _owned(parts: Sequence[Part], lefts: Mapping[Use, Tensor], found: Gradients, owners: Tensor, m: int) -> Gathered:
    """From one pass, whose rows belong to one task each."""
    gathered: dict[int, Rows] = {}
    formed = _buffer(parts, m)
    pieces: list[Tensor | None] = []
    for part in parts:
        met = [use for use in part.uses if use.node in found]
        if not met:
            pieces += [None] * (part.way != "kernel")
            continue
        right = _joined([use.right(found[use.node]) for use in met])
        left = _joined([lefts[use] for use in met]) if met[0] in lefts else None
        of_rows = _joined([owners.repeat_interleave(use.rows // len(owners)) for use in met])
        if part.way == "kernel":
            assert left is not None
            gathered[part.number] = Rows(part, left, [right], of_rows)
        else:
            own = products.gradients_of_owned_rows(left, right, of_rows, m, met[0].inner)
            pieces.append(own.view(m, *part.parameter.shape))  # turned to its shape when it is read
    for task in range(m):
        formed.add(task, [None if piece is None else piece[task] for piece in pieces])
    return Gathered(m, gathered, [part for part in parts if part.way != "kernel"], formed)
