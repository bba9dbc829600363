"""Proof, from the graph alone, that a part of a model treats every sample of the batch by itself.

Losses of disjoint parts of a batch then share one backward pass through that part: what arrives at the rows of a sample
is of the task that owns the sample. Only operations that are known to keep samples apart are accepted; whatever is not
listed here (batch normalisation that measures the batch, attention across the batch, a sum over it) is a no.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from mtlgrad.engines.graph import Graph, Node

Shape = tuple[int, ...]
Rule = Callable[[Node, int, Shape, Shape], bool]
"""Node, number of the argument, shape of the output, shape of the argument: whether samples stay apart."""


def below(cut: Node) -> set[Node]:
    """Everything that `cut` leads to, itself included."""
    found, open_nodes = {cut}, [cut]
    while open_nodes:
        for source, _ in open_nodes.pop().next_functions:
            if source is not None and source not in found:
                found.add(source)
                open_nodes.append(source)
    return found


def keeps_samples_apart(graph: Graph, cut: Node, live: set[Node]) -> bool:
    """Whether what happens between the output of `cut` and the leaves in `live` never mixes samples.

    A sample is an entry of the first dimension of that output. Further down, where a tensor has k times as many rows,
    a sample owns k of them in a row. How the leaves themselves are used is not looked at, see `uses`. No tensor below
    the cut may be used above it, for one pass could not tell the two apart.
    """
    shape = _shape(cut, 0)
    if not shape or shape[0] < 2:
        return False
    inside = below(cut)
    if any(user not in inside for node in inside if node is not cut for user, _ in graph.users[node]):
        return False
    return all(_apart(node, live, shape[0]) for node in inside if node in live and not hasattr(node, "variable"))


def entries_of(cut: Node, losses: Sequence[Tensor]) -> list[int] | None:
    """Which entry of the vector that `cut` puts out each loss is, where all are entries, each of its own.

    The graph alone says so: no gradient has to be looked at.
    """
    dims = len(_shape(cut, 0))
    found = []
    for loss in losses:
        node: Node = loss.grad_fn
        output = loss.output_nr
        while node is not None and type(node).__name__ in ("ViewBackward0", "AliasBackward0"):
            node, output = node.next_functions[0]
        kind = type(node).__name__
        if dims != 1 or node is None or node.next_functions[0][0] is not cut:
            return None
        if kind == "SelectBackward0":
            found.append(_signed(node._saved_index, _shape(cut, 0)[0]))
        elif kind == "UnbindBackward0":
            found.append(output)
        else:
            return None
    return found if len(set(found)) == len(found) else None


def _apart(node: Node, live: set[Node], samples: int) -> bool:
    rule = _RULES.get(type(node).__name__)
    for argument, (source, output) in enumerate(node.next_functions):
        if source is None or source not in live or _is_weight(source):
            continue
        if rule is None:
            return False
        after, before = _shape(node, 0), _shape(source, output)
        if not after or not before or after[0] % samples or before[0] % samples:
            return False
        if not rule(node, argument, after, before):
            return False
    return True


def _is_weight(node: Node) -> bool:
    """A leaf, or the transpose of one."""
    if type(node).__name__ == "TBackward0":
        node = node.next_functions[0][0]
    return hasattr(node, "variable")


def _shape(node: Node, output: int) -> Shape:
    return tuple(node._input_metadata[output].shape)


def _signed(dim: int, dims: int) -> int:
    """A dimension as a number from 0, whether it was saved as -1 or as 2^64 - 1."""
    return (dim - (1 << 64) if dim >= 1 << 63 else dim) % max(dims, 1)


def _elementwise(node: Node, argument: int, after: Shape, before: Shape) -> bool:
    """Entry by entry, other dimensions than the first broadcast or not."""
    return len(after) == len(before) and after[0] == before[0]


def _viewed(node: Node, argument: int, after: Shape, before: Shape) -> bool:
    """The same entries in the same order."""
    return math.prod(after) == math.prod(before)


def _only(position: int) -> Rule:
    """Batch first, in the argument at `position` and in the output."""
    return lambda node, argument, after, before: argument == position and after[0] == before[0]


def _unreduced(node: Node, argument: int, after: Shape, before: Shape) -> bool:
    return node._saved_reduction == 0 and after[0] == before[0]


def _along(*names: str, of_output: bool = False) -> Rule:
    """An operation along the dimensions saved under `names`, of its argument (or output), the first not among them."""

    def rule(node: Node, argument: int, after: Shape, before: Shape) -> bool:
        dims = len(after) if of_output else len(before)
        for name in names:
            saved = getattr(node, f"_saved_{name}")
            saved = (saved,) if isinstance(saved, int) else saved
            if saved is None or len(saved) == 0 or any(_signed(dim, dims) == 0 for dim in saved):
                return False
        return after[0] == before[0]

    return rule


def _permuted(node: Node, argument: int, after: Shape, before: Shape) -> bool:
    return _signed(node._saved_dims[0], len(before)) == 0


def _layer_norm(node: Node, argument: int, after: Shape, before: Shape) -> bool:
    return argument == 0 and len(node._saved_normalized_shape) < len(before)


def _batch_norm(node: Node, argument: int, after: Shape, before: Shape) -> bool:
    """With the running statistics only."""
    return argument == 0 and not node._saved_training


def _batched(dims: int) -> Rule:
    """One independent problem for each entry of the first dimension, of tensors with `dims` dimensions."""
    return lambda node, argument, after, before: len(after) == len(before) == dims and after[0] == before[0]


_ENTRY_BY_ENTRY = (
    "Abs", "Add", "Alias", "Clone", "Cos", "Div", "Elu", "Erf", "Exp", "Expand", "Gelu", "Hardsigmoid", "Hardswish",
    "Hardtanh", "LeakyRelu", "Log", "Log1P", "LogSigmoid", "Mish", "Mul", "NativeDropout", "Neg", "Pow", "Reciprocal",
    "Relu", "Rsqrt", "Sigmoid", "Silu", "Sin", "Softplus", "Sqrt", "Sub", "Tanh", "ToCopy",
)  # fmt: skip
_ATTENTION = ("FlashAttentionForCpu", "FlashAttention", "EfficientAttention", "CudnnAttention")

_RULES: dict[str, Rule] = {
    **{f"{name}Backward{k}": _elementwise for name in _ENTRY_BY_ENTRY for k in (0, 1)},
    **{f"{name}Backward0": _viewed for name in ("View", "UnsafeView", "ReshapeAlias")},
    **{f"{name}LossBackward0": _unreduced for name in ("Nll", "Mse", "SmoothL1", "Huber")},
    **{f"ScaledDotProduct{name}Backward0": _batched(4) for name in _ATTENTION},
    "AddmmBackward0": _only(1),
    "MmBackward0": _only(0),
    "BmmBackward0": _batched(3),
    "BinaryCrossEntropyWithLogitsBackward0": _unreduced,
    "LogSoftmaxBackward0": _along("dim"),
    "SoftmaxBackward0": _along("dim"),
    "MeanBackward1": _along("dim"),
    "SumBackward1": _along("dim"),
    "SelectBackward0": _along("dim"),
    "SliceBackward0": _along("dim"),
    "UnbindBackward0": _along("dim"),
    "SplitBackward0": _along("dim"),
    "CatBackward0": _along("dim", of_output=True),
    "TransposeBackward0": _along("dim0", "dim1"),
    "PermuteBackward0": _permuted,
    "UnsqueezeBackward0": _along("dim", of_output=True),
    "NativeLayerNormBackward0": _layer_norm,
    "NativeGroupNormBackward0": _only(0),
    "NativeBatchNormBackward0": _batch_norm,
    "ConvolutionBackward0": _only(0),
    "MaxPool2DWithIndicesBackward0": _batched(4),
    "AvgPool2DBackward0": _batched(4),
    "AdaptiveAvgPool2DBackward0": _batched(4),
}
