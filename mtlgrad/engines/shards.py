"""What ranks tell each other whose parameters are sharded. Imported where there are such: DTensor takes its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard

from mtlgrad.engines.processes import Kind, compiled_passes_explained
from mtlgrad.engines.reach import reach
from mtlgrad.engines.several import Several


class Shards(Several):
    """FSDP averages gradients over the ranks as it shards them; what is left is to sum Gramians over the shards."""

    kind: ClassVar[Kind] = "sharded"

    def __init__(self, shared: Sequence[Tensor]) -> None:
        super().__init__()
        layouts = {(p.device_mesh, p.placements) if isinstance(p, DTensor) else None for p in shared}
        if len(layouts) != 1:
            raise ValueError(
                f"shared parameters must be sharded alike, got {len(layouts)} kinds (None: not sharded), {layouts}: "
                "fully_shard the module that holds them all"
            )
        first = shared[0]
        assert isinstance(first, DTensor)
        self.mesh, self.placements = first.device_mesh, first.placements
        if not all(isinstance(one, Shard | Replicate) for one in self.placements):
            raise ValueError(f"shared parameters must be sharded or replicated, got placements {self.placements}")
        if self.mesh.size() != self.size:
            raise ValueError(
                f"shared parameters must be sharded over all {self.size} ranks, got a mesh of {self.mesh.size()}"
            )
        self._shared = [id(p) for p in shared]

    def of(self, shared: Sequence[Tensor]) -> bool:
        """Whether these are the parameters that this object was made for."""
        return self._shared == [id(p) for p in shared]

    def tell(self, values: Mapping[int, Tensor], tasks: int) -> tuple[dict[int, Tensor], dict[int, float]]:
        means, shares = super().tell(values, tasks)
        if shares:
            raise ValueError(
                f"losses: tasks {sorted(shares)} (by position) are absent on some ranks only; with sharded parameters "
                "every rank runs the same backward passes: give a loss that is zero and has a graph, 0 * output.sum()"
            )
        return means, shares

    def backward(self, loss: Tensor, *, retain_graph: bool, inputs: list[Tensor] | None) -> None:
        if inputs is not None:
            raise ValueError(
                "private= restricts what a backward pass reaches, which FSDP does not allow: leave it away and freeze "
                "what is to get no gradient"
            )
        leaves = reach([loss]).leaves.values()
        with compiled_passes_explained():
            torch.autograd.backward(loss, retain_graph=retain_graph)
        # FSDP takes the gradients of what it shards away; what keeps one is not sharded, and is averaged later.
        self.meet([p for p in leaves if p.grad is not None and not isinstance(p, DTensor)])

    def mean_gradients(
        self, shared: Sequence[Tensor], private: Sequence[Tensor] | None, *, decided: bool = False
    ) -> None:
        super().mean_gradients(shared, private, decided=True)  # FSDP has averaged what is sharded

    def local(self, tensor: Tensor) -> Tensor:
        """This rank's part of a sharded tensor."""
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor

    def joined_up(self, part: Tensor, like: Tensor) -> Tensor:
        """What belongs to the parameter `like`, of which this rank has `part`."""
        return DTensor.from_local(
            part, self.mesh, self.placements, run_check=False, shape=like.shape, stride=like.stride()
        )

    def summed_over_shards(self, tensor: Tensor) -> Tensor:
        """The sum of what each shard contributes."""
        for k, placement in enumerate(self.placements):
            if isinstance(placement, Shard):
                dist.all_reduce(tensor, group=self.mesh.get_group(k))
        return tensor

    def part(self, whole: Tensor) -> Tensor:
        """This rank's part of a tensor that is the same on all ranks."""
        everywhere = [Replicate() for _ in self.placements]
        found = DTensor.from_local(whole, self.mesh, everywhere, run_check=False)
        return found.redistribute(placements=self.placements).to_local()

    def rows(self, local: Tensor, like: Tensor) -> Tensor:
        """The whole of m gradients of one parameter [m, n_k] from this rank's parts of them [m, ...]."""
        placements = [Shard(one.dim + 1) if isinstance(one, Shard) else one for one in self.placements]
        shape = torch.Size([len(local), *like.shape])
        stride = torch.empty(shape, device="meta").stride()
        found = DTensor.from_local(local, self.mesh, placements, run_check=False, shape=shape, stride=stride)
        return found.full_tensor().flatten(1)
