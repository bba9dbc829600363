"""Several processes that train one problem, as `accelerate launch` starts them: each takes its part of every batch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def own_part(batch: Tensor) -> Tensor:
    """This process's part of a batch [b, ...]: consecutive samples, [b / processes, ...].

    A problem that draws the same batch on every process (its seed is the same) computes its losses on the part; the
    loop averages gradients over the processes, so that the training is that of the whole batch on one. Alone, a process
    has the whole batch. A problem that does not ask for parts trains on whole batches in every process: the same
    curve, and nothing gained.

    Raises
    ------
    ValueError
        Where the batch cannot be cut into equal parts: the mean over the processes would not be the batch's mean.

    >>> own_part(torch.arange(4))
    tensor([0, 1, 2, 3])
    """
    processes = _processes()
    if processes == 1:
        return batch
    if len(batch) % processes:
        raise ValueError(f"a batch of {len(batch)} cannot be shared equally by {processes} processes")
    return batch.chunk(processes)[dist.get_rank()]


def averaged(loss: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """The mean [] over the processes of their losses; the `.grad` of parameters becomes its mean, in place."""
    mean = loss.detach().clone()
    processes = _processes()
    if processes == 1:
        return mean
    dist.all_reduce(mean)
    gradients = [p.grad for p in parameters if p.grad is not None]
    for dtype in sorted({gradient.dtype for gradient in gradients}, key=str):
        alike = [gradient for gradient in gradients if gradient.dtype == dtype]
        flat = torch.cat([gradient.reshape(-1) for gradient in alike])
        dist.all_reduce(flat)
        for gradient, piece in zip(alike, (flat / processes).split([g.numel() for g in alike]), strict=True):
            gradient.copy_(piece.view(gradient.shape))
    return mean / processes


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
