"""Several processes, each with all parameters and a part of the batch: plain modules and DistributedDataParallel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from mtlgrad.engines.processes import compiled_passes_explained
from mtlgrad.engines.reach import reach
from mtlgrad.engines.several import Several
from mtlgrad.gradients import TaskGradients, laid_out, like_gradient


class Replicas(Several):
    """Averages the rows of J, and the private parameters' gradients, in one message each.

    The loss of the whole batch is the mean of the ranks' losses, as it is to DistributedDataParallel. Gradients come
    from `torch.autograd.grad`: it does not run the hooks by which DistributedDataParallel averages as soon as a
    backward pass is through a parameter, and which allow one pass a step only. A wrapped model and a plain one are
    therefore the same here.
    """

    kind = "replicated"

    def __init__(self, shared: Sequence[Tensor]) -> None:
        super().__init__()
        self.compare_parameters("shared", shared)

    def backward(self, loss: Tensor, *, retain_graph: bool, inputs: list[Tensor] | None) -> None:
        leaves = inputs
        if leaves is None:
            found = reach([loss])
            if found.reentrant:
                raise ValueError(
                    "a reentrant checkpoint hides parameters from every backward pass but one into all of them, which "
                    "DistributedDataParallel would take for the only one: pass use_reentrant=False to "
                    "torch.utils.checkpoint"
                )
            leaves = list(found.leaves.values())
            self.meet(leaves)
        if not leaves:
            return
        with compiled_passes_explained():
            gradients = torch.autograd.grad(loss, leaves, retain_graph=retain_graph, allow_unused=True)
        for p, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                p.grad = _owned(gradient, p) if p.grad is None else p.grad + gradient

    def mean_jacobian(self, gradients: TaskGradients) -> None:
        touched = torch.tensor(gradients.touched, dtype=torch.float64)
        gradients.touch(self.summed(touched) > 0)
        dist.all_reduce(gradients.matrix)
        gradients.matrix /= self.size


def _owned(gradient: Tensor, p: Tensor) -> Tensor:
    """A copy with the strides that plain autograd gives: it may hand out one tensor for several parameters."""
    if gradient.layout != torch.strided:
        return gradient.clone()
    laid = laid_out(gradient, like_gradient(p))
    return gradient.clone() if laid is gradient else laid
