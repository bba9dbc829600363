"""Where J lives: the gradients of m tasks over the shared parameters, in one flat buffer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress

import torch
from torch import Tensor

from mtlgrad.linalg import combine, gram

Layout = tuple[torch.Size, tuple[int, ...], torch.dtype]
"""Shape, strides and dtype of a parameter's gradient."""


class TaskGradients:
    """J [m, n] over a list of parameters, row i the gradient of task i, columns in the order of the parameters.

    The columns of one parameter are its entries in row-major order, whatever the order of its own memory: a column is
    the same entry in a model that is channels-last and in one that is not, and a method's draws and its state belong to
    the same entries. A direction is cut into gradients with the strides that plain autograd would give them. One buffer
    serves every step: rows are zeroed, added to, read. A parameter that no task touched is remembered, so that it can
    keep ``grad = None`` as in plain torch.

    Parameters
    ----------
    parameters:
        The shared tensors, on one device. Their dtypes may differ; the buffer takes the widest.
    m:
        Number of tasks.
    device:
        Where the buffer is; None: with the parameters. Needed where there are none, and J is [m, 0].
    blocks:
        Cuts the parameters into consecutive groups: the number of parameters in each. None: one group.
    wide:
        Whether the buffer is at least float32: half-precision gradients that `add` divides may leave their own range.

    >>> w = torch.zeros(2)
    >>> J = TaskGradients([w], m=2)
    >>> J.add(0, [torch.tensor([1.0, 0.0])]); J.add(1, [torch.tensor([-1.0, 1.0])])
    >>> J.gram()
    tensor([[ 1., -1.],
            [-1.,  2.]], dtype=torch.float64)
    >>> J.combine(torch.tensor([2.0, 1.0]))
    tensor([1., 1.])
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        m: int,
        *,
        device: torch.device | None = None,
        blocks: Sequence[int] | None = None,
        wide: bool = False,
    ) -> None:
        self._likes = [like_gradient(p) for p in parameters]
        self._layouts = [_layout(p) for p in parameters]
        self._blocks = None if blocks is None else list(blocks)
        self._sizes = [p.numel() for p in parameters]
        dtypes = [torch.float32] * wide + [p.dtype for p in parameters] or [torch.get_default_dtype()]
        dtype = dtypes[0]
        for other in dtypes:
            dtype = torch.promote_types(dtype, other)
        self.matrix = torch.zeros(m, sum(self._sizes), dtype=dtype, device=device or parameters[0].device)
        self._views = [self._unflatten(row) for row in self.matrix]
        self._touched: list[set[int]] = [set() for _ in self._sizes]
        self._columns: list[slice] = []
        first = 0
        for count in [len(self._sizes)] if blocks is None else blocks:
            width = sum(self._sizes[first : first + count])
            start = self._columns[-1].stop if self._columns else 0
            self._columns.append(slice(start, start + width))
            first += count

    @property
    def untouched(self) -> list[int]:
        """Which parameters no task has had a gradient for."""
        return [k for k, tasks in enumerate(self._touched) if not tasks]

    @property
    def touched(self) -> list[list[bool]]:
        """Which tasks have had a gradient for which parameters: [number of parameters][m]."""
        return [[task in tasks for task in range(len(self.matrix))] for tasks in self._touched]

    def touch(self, touched: Tensor) -> None:
        """Count a bool [number of parameters, m] as gradients had: those of other processes are in J too."""
        self._touched = [set(row.nonzero().flatten().tolist()) for row in touched]

    def rows(self, task: int) -> list[Tensor]:
        """Row `task` as one gradient a parameter; views, row-major."""
        return self._views[task]

    @property
    def separate(self) -> bool:
        """Whether several tasks had gradients, and no parameter had them from more than one."""
        return len(set().union(*self._touched)) > 1 and all(len(tasks) < 2 for tasks in self._touched)

    def fits(self, parameters: Sequence[Tensor], m: int, *, blocks: Sequence[int] | None, wide: bool) -> bool:
        """Whether a buffer made for these arguments would be no other."""
        dtype = self.matrix.dtype
        return (
            len(self.matrix) == m
            and self._layouts == [_layout(p) for p in parameters]
            and all(p.device == self.matrix.device for p in parameters[:1])
            and self._blocks == (None if blocks is None else list(blocks))
            and (not wide or dtype == torch.promote_types(dtype, torch.float32))
        )

    def zero(self) -> None:
        """Forget every gradient."""
        self.matrix.zero_()
        for tasks in self._touched:
            tasks.clear()

    def add(self, task: int, gradients: Sequence[Tensor | None], *, divisor: Tensor | None = None) -> None:
        """Add one gradient per parameter to row `task`, each divided by `divisor` [].

        None counts as zero, sparse gradients are made dense.
        """
        targets, sources = [], []
        for k, gradient in enumerate(gradients):
            if gradient is None:
                continue
            self._touched[k].add(task)
            targets.append(self._views[task][k])
            sources.append(gradient.to_dense() if gradient.layout != torch.strided else gradient)
        if divisor is not None and sources:
            wide = [source.to(self.matrix.dtype) for source in sources]
            sources = list(torch._foreach_div(wide, divisor.to(self.matrix.device)))
        alike = [target.stride() == source.stride() for target, source in zip(targets, sources, strict=True)]
        if not all(alike):  # one that is not takes from all others the single launch that an accelerator needs for them
            for target, source in zip(targets, sources, strict=True):
                if target.stride() != source.stride():
                    target.add_(source)
            targets, sources = list(compress(targets, alike)), list(compress(sources, alike))
        if targets:
            torch._foreach_add_(targets, sources)

    def gram(self) -> Tensor:
        """G = J J^T [m, m] in float64."""
        return gram(self.matrix)

    def block_matrices(self, rows: Sequence[int] | None = None) -> list[Tensor]:
        """The column blocks of J, [m, n_k] each: views; or of some rows of it, copied unless they are the first."""
        seen = self.matrix
        if rows is not None:
            first = list(rows) == list(range(len(rows)))
            seen = seen[: len(rows)] if first else seen[list(rows)]
        return [seen[:, block] for block in self._columns]

    def combine(self, weights: Tensor) -> Tensor:
        """d = w @ J [n] for weights [m]."""
        return combine(weights, self.matrix)

    def split(self, direction: Tensor) -> Iterator[Tensor | None]:
        """Cut d [n] into one tensor per parameter, in its shape, strides and dtype; None where no task had any."""
        for piece, like, tasks in zip(self._unflatten(direction), self._likes, self._touched, strict=True):
            # `data`: each with a version of its own, so that it can be told which of them was changed in place.
            yield laid_out(piece.to(like.dtype), like).data if tasks else None

    def _unflatten(self, flat: Tensor) -> list[Tensor]:
        pieces = zip(flat.split(self._sizes), self._likes, strict=True)
        # Strides of dimensions of size 1 say nothing: where the order is row-major they are those of the gradient.
        return [
            piece.as_strided(like.shape, like.stride()) if like.is_contiguous() else piece.view(like.shape)
            for piece, like in pieces
        ]


def like_gradient(parameter: Tensor) -> Tensor:
    """A tensor without memory that has the strides of the parameter's gradient: its own if dense, else row-major."""
    like = torch.empty_like(parameter, device="meta")
    if like.stride() == parameter.stride():
        return like
    return torch.empty(parameter.shape, dtype=parameter.dtype, device="meta")


def places_in_memory(parameter: Tensor) -> Tensor:
    """Where in the order of its memory each entry of a parameter's gradient is, by the entry's row-major number.

    Empty where the two orders are one, and for a parameter that is sharded: its gradients are gathered row-major.
    """
    if hasattr(parameter, "to_local") or (like := like_gradient(parameter)).is_contiguous():
        return torch.empty(0, dtype=torch.long)
    return torch.arange(like.numel()).as_strided(like.shape, like.stride()).reshape(-1)


def laid_out(values: Tensor, like: Tensor) -> Tensor:
    """`values` with the strides of `like`, copied unless they have them."""
    if values.stride() == like.stride():
        return values
    return torch.empty_strided(like.shape, like.stride(), dtype=values.dtype, device=values.device).copy_(values)


def _layout(parameter: Tensor) -> Layout:
    return parameter.shape, parameter.stride(), parameter.dtype
