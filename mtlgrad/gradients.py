"""Where J lives: the gradients of m tasks over the shared parameters, in one flat buffer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mtlgrad.linalg import combine, gram


class TaskGradients:
    """J [m, n] over a list of parameters, row i the gradient of task i, columns in the order of the parameters.

    One buffer serves every step: rows are zeroed, added to, read. A parameter that no task touched is remembered,
    so that it can keep ``grad = None`` as in plain torch.

    Parameters
    ----------
    parameters:
        The shared tensors, on one device. Their dtypes may differ; the buffer takes the widest.
    m:
        Number of tasks.
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
        self, parameters: Sequence[Tensor], m: int, *, blocks: Sequence[int] | None = None, wide: bool = False
    ) -> None:
        self._shapes = [p.shape for p in parameters]
        self._dtypes = [p.dtype for p in parameters]
        self._sizes = [p.numel() for p in parameters]
        dtype = torch.float32 if wide else self._dtypes[0]
        for other in self._dtypes:
            dtype = torch.promote_types(dtype, other)
        self.matrix = torch.zeros(m, sum(self._sizes), dtype=dtype, device=parameters[0].device)
        self._views = [self._unflatten(row) for row in self.matrix]
        self._touched = [False] * len(self._shapes)
        counts = [len(self._shapes)] if blocks is None else list(blocks)
        self._blocks: list[slice] = []
        first = 0
        for count in counts:
            width = sum(self._sizes[first : first + count])
            start = self._blocks[-1].stop if self._blocks else 0
            self._blocks.append(slice(start, start + width))
            first += count

    @property
    def untouched(self) -> list[int]:
        """Which parameters no task has had a gradient for."""
        return [k for k, touched in enumerate(self._touched) if not touched]

    def fits(self, parameters: Sequence[Tensor], m: int, *, wide: bool) -> bool:
        """Whether a buffer made for these arguments would be no other."""
        dtype = self.matrix.dtype
        return (
            len(self.matrix) == m
            and self.matrix.device == parameters[0].device
            and self._dtypes == [p.dtype for p in parameters]
            and (not wide or dtype == torch.promote_types(dtype, torch.float32))
        )

    def zero(self) -> None:
        """Forget every gradient."""
        self.matrix.zero_()
        self._touched = [False] * len(self._touched)

    def add(self, task: int, gradients: Sequence[Tensor | None], *, divisor: Tensor | None = None) -> None:
        """Add one gradient per parameter to row `task`, each divided by `divisor` [].

        None counts as zero, sparse gradients are made dense.
        """
        targets, sources = [], []
        for k, gradient in enumerate(gradients):
            if gradient is None:
                continue
            self._touched[k] = True
            targets.append(self._views[task][k])
            sources.append(gradient.to_dense() if gradient.layout != torch.strided else gradient)
        if divisor is not None and sources:
            wide = [source.to(self.matrix.dtype) for source in sources]
            sources = list(torch._foreach_div(wide, divisor.to(self.matrix.device)))
        if targets:
            torch._foreach_add_(targets, sources)

    def gram(self) -> Tensor:
        """G = J J^T [m, m] in float64."""
        return gram(self.matrix)

    def block_matrices(self) -> list[Tensor]:
        """The column blocks of J, [m, n_k] each; views."""
        return [self.matrix[:, block] for block in self._blocks]

    def combine(self, weights: Tensor) -> Tensor:
        """d = w @ J [n] for weights [m]."""
        return combine(weights, self.matrix)

    def split(self, direction: Tensor) -> Iterator[Tensor | None]:
        """Cut d [n] into one tensor per parameter, in its shape and dtype; None where no task had a gradient."""
        for piece, dtype, touched in zip(self._unflatten(direction), self._dtypes, self._touched, strict=True):
            yield piece.to(dtype) if touched else None

    def _unflatten(self, flat: Tensor) -> list[Tensor]:
        return [piece.view(shape) for piece, shape in zip(flat.split(self._sizes), self._shapes, strict=True)]
