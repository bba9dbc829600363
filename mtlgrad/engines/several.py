"""What replicated and sharded parameters have in common: messages over all ranks, and averaged gradients."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mtlgrad.engines.processes import Processes
from mtlgrad.gradients import like_gradient


class Several(Processes):
    """What replicated and sharded parameters have in common: small messages over all ranks."""

    def __init__(self) -> None:
        backends = str(dist.get_backend_config())
        self._place = torch.device("cpu" if "cpu" in backends else torch.accelerator.current_accelerator() or "cpu")
        self.size = dist.get_world_size()
        self._met: dict[int, Tensor] = {}
        self._agreed: tuple[int, ...] | None = None

    @contextmanager
    def together(self, what: list[str]) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._compare(refused=True, key=0)
            raise
        self._compare(refused=False, key=zlib.crc32("\n".join(what).encode()), told="; ".join(what))

    def _compare(self, *, refused: bool, key: int, told: str = "") -> None:
        message = torch.tensor([int(refused), key, -key], dtype=torch.int64, device=self._place)
        dist.all_reduce(message, op=dist.ReduceOp.MAX)
        someone, high, low = message.tolist()
        if refused:
            return
        if someone:
            raise RuntimeError("another rank refused this call of the Balancer: its own error says why")
        if high != -low:
            raise RuntimeError(
                f"the ranks ask the Balancer for different things; this one (rank {dist.get_rank()}): {told}"
            )

    def tell(self, values: Mapping[int, Tensor], tasks: int) -> tuple[dict[int, Tensor], dict[int, float]]:
        message = torch.zeros(2, tasks, dtype=torch.float64)
        for task, value in values.items():
            message[0, task], message[1, task] = value.double(), 1
        message = self.summed(message)
        counts = message[1].tolist()
        like = next(iter(values.values()))
        means = (message[0] / message[1]).to(like.device, like.dtype).unbind()
        return (
            {task: means[task] for task in range(tasks) if counts[task]},
            {task: self.size / counts[task] for task in range(tasks) if 0 < counts[task] < self.size},
        )

    def summed(self, message: Tensor) -> Tensor:
        """The sum over the ranks of a small tensor that is not on any particular device, as one on the CPU."""
        message = message.to(self._place)
        dist.all_reduce(message)
        return message.cpu()

    def all_finite(self, finite: Tensor) -> Tensor:
        told = finite.to(self._place, torch.int32)
        dist.all_reduce(told, op=dist.ReduceOp.MIN)
        return told.to(finite.device, torch.bool)

    def gathered(self, value: Any) -> list[Any]:
        """`value` of every rank."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def joined(self, part: Tensor) -> Tensor:
        """The tensors [b, ...] of all ranks, which may differ in b, one after the other in the order of ranks."""
        sizes = self.gathered(len(part))
        padded = part.new_zeros(max(sizes), *part.shape[1:])
        padded[: len(part)] = part
        found = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(found, padded)
        return torch.cat([one[:size] for one, size in zip(found, sizes, strict=True)])

    def meet(self, leaves: Sequence[Tensor]) -> None:
        """Remember what a backward pass led to, until gradients are averaged."""
        self._met |= {id(p): p for p in leaves}

    def mean_gradients(
        self, shared: Sequence[Tensor], private: Sequence[Tensor] | None, *, decided: bool = False
    ) -> None:
        own = {id(p) for p in shared}
        others = list(self._met.values()) if private is None else [p for p in private if p.requires_grad]
        self._met = {}
        others = [p for p in others if id(p) not in own]
        if private is None:
            self._agree_on(others)
        whole = others if decided else [*shared, *others]
        touched = self.summed(torch.tensor([[p.grad is not None for p in whole]], dtype=torch.float64))[0] > 0
        self._average([p for p, any_rank in zip(whole, touched.tolist(), strict=True) if any_rank])

    def _average(self, parameters: Sequence[Tensor]) -> None:
        """One message for each dtype there is."""
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(like_gradient(p), device=p.device)
            elif p.grad.layout != torch.strided:
                p.grad = p.grad.to_dense()
        for dtype in sorted({p.dtype for p in parameters}, key=str):
            gradients = [p.grad for p in parameters if p.dtype == dtype and p.grad is not None]
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            dist.all_reduce(flat)
            flat /= self.size
            for gradient, piece in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(piece.view(gradient.shape))

    def _agree_on(self, private: Sequence[Tensor]) -> None:
        """Raise unless all ranks have found the same private parameters; asked again where any has found new ones."""
        key = tuple(id(p) for p in private)
        if self.summed(torch.tensor([float(key != self._agreed)])).item():
            self.compare_parameters("private", private)
            self._agreed = key

    def compare_parameters(self, argument: str, tensors: Sequence[Tensor]) -> None:
        """Raise on all ranks unless they have the same parameters in the same order, with the same values."""
        told = self.gathered([_fingerprint(p) for p in tensors])
        if all(one == told[0] for one in told):
            return
        if argument == "private":
            raise ValueError(
                f"the ranks' losses lead to different private parameters ({', '.join(str(len(one)) for one in told)} "
                "on the ranks in order): name them, private=[...], in the same order on every rank"
            )
        raise ValueError(
            "shared parameters differ between the ranks, whose gradients are averaged: start all ranks from the same "
            "values (the same seed, a checkpoint, or DistributedDataParallel, which sends those of rank 0), and give "
            "them in the same order"
        )


def _fingerprint(p: Tensor) -> tuple[Any, ...]:
    """Something that equal parameters share and others hardly do."""
    flat = p.detach().reshape(-1)
    return (tuple(p.shape), str(p.dtype), flat[:8].double().tolist(), flat[-8:].double().tolist())
