"""How a parameter is used: the nodes whose gradient formula is known, as rows of inputs and of output gradients.

In each of them the parameter's gradient is a sum over rows r of something of the layer's input, a_r, and the gradient
at its output, d_r: of d_r a_rᵀ for the weight of a linear map or (patch by patch) of a convolution, of d_r for a bias,
of d_r times the normalised input for the scale of a layer norm, of d_r at the place of an index for an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mtlgrad.engines.graph import Graph, Node, hooked, shape_of

Kind = Literal["product", "lookup", "sum"]


class Use(NamedTuple):
    """One place where one parameter enters the forward pass."""

    node: Node
    """Its first output is where d is taken."""
    kind: Kind
    """`product`: d_r a_rᵀ; `lookup`: d_r at the place of an index; `sum`: d_r itself."""
    rows: int
    inner: int
    """Entries of a row of inputs (`lookup`: of the table; `sum`: 1)."""
    outer: int
    """Entries of a row of output gradients."""
    left: Callable[[], Tensor] | None
    """[rows, inner] inputs of the layer, or [rows] indices; None for `sum`. Asked for while the graph is whole."""
    right: Callable[[Tensor], Tensor]
    """Gradient at the output to [rows, outer]; rows stay in the order of the batch."""
    shaped: Callable[[Tensor], Tensor]
    """The gradient [outer, inner] (`lookup`: [inner, outer]; `sum`: [outer]) in the parameter's shape."""
    turned: bool = False
    """Whether the parameter is [inner, outer], as in `x @ weight`."""

    @property
    def raw(self) -> tuple[int, ...]:
        """The shape of what goes into `shaped`."""
        if self.kind == "sum":
            return (self.outer,)
        return (self.outer, self.inner) if self.kind == "product" else (self.inner, self.outer)


def uses(graph: Graph, parameter: Tensor) -> list[Use]:
    """Every use of `parameter` that the losses depend on, all of one kind; none if one of them is not known.

    Their shapes are looked at; of what the graph has saved only what `right` needs is read, and nothing is copied.
    """
    try:
        found = _uses(graph, parameter)
    except RuntimeError:  # freed, or changed in place since: a backward pass will say so
        return []
    kinds = {None if use is None else (use.kind, use.inner, use.outer, use.turned) for use in found}
    return [use for use in found if use is not None] if len(kinds) == 1 else []


def _uses(graph: Graph, parameter: Tensor) -> list[Use | None]:
    found: list[Use | None] = []
    for node, argument in graph.uses_of(parameter):
        if type(node).__name__ == "TBackward0":
            found += [_linear(user, k, parameter, transposed=True) for user, k in graph.users[node]]
        else:
            known = _KNOWN.get(type(node).__name__)
            found.append(None if known is None else known(node, argument, parameter))
    return found


def _linear(node: Node, argument: int, parameter: Tensor, transposed: bool = False) -> Use | None:
    """`addmm(bias, input, weight)` and `mm(input, weight)`, the weight transposed as in `nn.Linear` or not."""
    kind, shape = type(node).__name__, shape_of(node)
    if kind == "AddmmBackward0":
        if argument == 0 and not transposed and node._saved_beta == 1 and tuple(parameter.shape) == shape[1:]:
            return _sum(node, shape[0], shape[1], lambda d: d, parameter)
        name, wanted = "mat1", argument == 2 and node._saved_alpha == 1
    elif kind == "MmBackward0":
        name, wanted = "self", argument == 1
    else:
        return None
    if not wanted or parameter.dim() != 2 or hooked(node, name):
        return None
    outer, inner = parameter.shape if transposed else parameter.shape[::-1]
    return Use(
        node, "product", shape[0], inner, outer,
        left=lambda: _saved(node, name),
        right=lambda d: d,
        shaped=(lambda g: g) if transposed else (lambda g: g.T), turned=not transposed,
    )  # fmt: skip


def _convolution(node: Node, argument: int, parameter: Tensor) -> Use | None:
    """A convolution of one or two dimensions, by its patches."""
    shape = shape_of(node)
    places = math.prod(shape[2:])

    def right(d: Tensor) -> Tensor:
        return d.flatten(2).transpose(1, 2).reshape(-1, shape[1])

    if argument == 2:
        return _sum(node, shape[0] * places, shape[1], right, parameter)
    if (
        argument != 1
        or node._saved_transposed
        or node._saved_groups != 1
        or len(shape) not in (3, 4)
        or hooked(node, "input")
    ):
        return None
    flat = len(shape) == 3

    def pair(values: Sequence[int], neutral: int) -> tuple[int, ...]:
        return (neutral, *values) if flat else tuple(values)

    kernel, dilation = pair(parameter.shape[2:], 1), pair(node._saved_dilation, 1)
    padding, stride = pair(node._saved_padding, 0), pair(node._saved_stride, 1)

    def left() -> Tensor:
        x = _saved(node, "input").unsqueeze(2) if flat else _saved(node, "input")
        patches: Tensor = F.unfold(x, kernel, dilation, padding, stride)
        rows: Tensor = patches.transpose(1, 2).reshape(-1, patches.shape[1])
        return rows

    inner = math.prod(parameter.shape[1:])
    return Use(
        node, "product", shape[0] * places, inner, shape[1],
        left=left, right=right, shaped=lambda g: g.reshape(parameter.shape),
    )  # fmt: skip


def _embedding(node: Node, argument: int, parameter: Tensor) -> Use | None:
    shape = shape_of(node)
    if argument != 0 or node._saved_scale_grad_by_freq or node._saved_sparse or hooked(node, "indices"):
        return None
    padding = node._saved_padding_idx

    def left() -> Tensor:
        indices = _saved(node, "indices").reshape(-1)
        return torch.where(indices == padding, -1, indices)  # the row of the padding learns nothing

    table, width = parameter.shape
    return Use(
        node, "lookup", math.prod(shape[:-1]), table, width,
        left=left, right=lambda d: d.reshape(-1, width), shaped=lambda g: g,
    )  # fmt: skip


def _layer_norm(node: Node, argument: int, parameter: Tensor) -> Use | None:
    """Scale and shift of `nn.LayerNorm`."""
    shape = shape_of(node)
    outer = parameter.numel()
    rows = math.prod(shape) // max(outer, 1)
    if argument == 2:
        return _sum(node, rows, outer, lambda d: d.reshape(rows, outer), parameter)
    if argument != 1 or hooked(node, "input", "result1", "result2"):
        return None

    x, mean, scale = (_saved(node, name) for name in ("input", "result1", "result2"))

    def right(d: Tensor) -> Tensor:
        scaled: Tensor = d * ((x - mean) * scale)
        return scaled.reshape(rows, outer)

    return _sum(node, rows, outer, right, parameter)


def _group_norm(node: Node, argument: int, parameter: Tensor) -> Use | None:
    """Scale and shift of `nn.GroupNorm`, a row for each sample."""
    shape = shape_of(node)

    def summed(d: Tensor) -> Tensor:
        return d.flatten(2).sum(2)

    if argument == 2:
        return _sum(node, shape[0], shape[1], summed, parameter)
    if argument != 1 or hooked(node, "input", "result1", "result2"):
        return None

    x = _saved(node, "input").reshape(shape[0], node._saved_group, -1)
    mean, scale = (_saved(node, name).unsqueeze(2) for name in ("result1", "result2"))

    def right(d: Tensor) -> Tensor:
        return summed(d * ((x - mean) * scale).reshape(shape))

    return _sum(node, shape[0], shape[1], right, parameter)


def _batch_norm(node: Node, argument: int, parameter: Tensor) -> Use | None:
    """Scale and shift of a batch norm that goes by its running statistics, a row for each sample."""
    shape = shape_of(node)
    if node._saved_training or argument not in (1, 2) or hooked(node, "input"):
        return None

    def summed(d: Tensor) -> Tensor:
        return d.reshape(shape[0], shape[1], -1).sum(2)

    if argument == 2:
        return _sum(node, shape[0], shape[1], summed, parameter)
    x, mean, variance = (_saved(node, name) for name in ("input", "running_mean", "running_var"))
    wide = (1, shape[1], *[1] * (len(shape) - 2))
    scale = (variance + node._saved_eps).rsqrt().reshape(wide)

    def right(d: Tensor) -> Tensor:
        return summed(d * ((x - mean.reshape(wide)) * scale))

    return _sum(node, shape[0], shape[1], right, parameter)


def _scaled(node: Node, argument: int, parameter: Tensor) -> Use | None:
    """A scale that is broadcast along the first dimension: `nn.RMSNorm`'s, a gate, LayerScale; a row for each entry."""
    name = "other" if argument == 0 else "self"
    if hooked(node, name) or parameter.is_complex():
        return None
    other = _saved(node, name)
    return _broadcast(node, parameter, lambda d: d * other)


def _shifted(node: Node, argument: int, parameter: Tensor) -> Use | None:
    """A shift that is broadcast along the first dimension: a bias by hand, learned positions; a row for each entry."""
    return _broadcast(node, parameter, (lambda d: d) if argument == 0 else (lambda d: d * node._saved_alpha))


def _broadcast(node: Node, parameter: Tensor, of_output: Callable[[Tensor], Tensor]) -> Use | None:
    """`of_output`: the gradient at the output to that at the parameter, were it as large as the output."""
    shape = shape_of(node)
    own = (1,) * (len(shape) - parameter.dim()) + tuple(parameter.shape)
    if not shape or own[0] != 1:
        return None
    along = [dim for dim in range(1, len(shape)) if own[dim] == 1]

    def right(d: Tensor) -> Tensor:
        full = of_output(d)
        return (full.sum(along) if along else full).reshape(shape[0], -1)

    return _sum(node, shape[0], parameter.numel(), right, parameter)


def _saved(node: Node, name: str) -> Tensor:
    saved: Tensor = getattr(node, f"_saved_{name}")
    return saved.detach()


def _sum(node: Node, rows: int, outer: int, right: Callable[[Tensor], Tensor], parameter: Tensor) -> Use:
    return Use(node, "sum", rows, 1, outer, None, right, lambda g: g.reshape(parameter.shape))


_KNOWN: dict[str, Callable[[Node, int, Tensor], Use | None]] = {
    "AddmmBackward0": _linear,
    "MmBackward0": _linear,
    "ConvolutionBackward0": _convolution,
    "EmbeddingBackward0": _embedding,
    "NativeLayerNormBackward0": _layer_norm,
    "NativeGroupNormBackward0": _group_norm,
    "NativeBatchNormBackward0": _batch_norm,
    "MulBackward0": _scaled,
    "AddBackward0": _shifted,
}
