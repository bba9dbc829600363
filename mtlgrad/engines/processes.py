"""What processes that train the same parameters tell each other, and how each of them runs a backward pass."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from mtlgrad.gradients import TaskGradients

if dist.is_available():
    # Read before there is a group: its functions' default arguments are the group of that moment. torch reads it when
    # the first optimizer is made; a group kept so outlives its own end, and gloo's threads now and then abort the exit.
    import torch.distributed.nn

Kind = Literal["one", "replicated", "sharded"]


class Processes:
    """One process, which has nobody to tell anything. Several are a subclass.

    Engines call these methods and nothing else of `torch.distributed`, on all ranks in the same order, so that all
    ranks decide from the same numbers.
    """

    kind: ClassVar[Kind] = "one"

    @contextmanager
    def together(self, what: list[str]) -> Iterator[None]:
        """Around the checks of a call: where one rank refuses it, all do; `what` says in words what was asked for."""
        yield

    def tell(self, values: Mapping[int, Tensor], tasks: int) -> tuple[dict[int, Tensor], dict[int, float]]:
        """The losses of the whole batch by task, and what each of this rank's losses counts for in their mean.

        A task that is absent on some ranks has the mean over the others.
        """
        return dict(values), {}

    def backward(self, loss: Tensor, *, retain_graph: bool, inputs: list[Tensor] | None) -> None:
        """Add this rank's gradients to the `.grad` of `inputs`; None: of everything that the graph leads to."""
        backward(loss, retain_graph=retain_graph, inputs=inputs)

    def mean_jacobian(self, gradients: TaskGradients) -> None:
        """Average J over the ranks, in place, before G is formed."""

    def mean_gradients(
        self, shared: Sequence[Tensor], private: Sequence[Tensor] | None, *, decided: bool = False
    ) -> None:
        """Average the `.grad` of private parameters over the ranks (None: those that `backward` led to), and of shared.

        `decided`: the shared ones hold the direction, on which all ranks agree, and are left alone.
        """

    def all_finite(self, finite: Tensor) -> Tensor:
        """Whether the bool [] is true on every rank."""
        return finite


def surrounding(shared: Sequence[Tensor], before: Processes | None = None) -> Processes:
    """The processes among which this one trains `shared`; `before` is the answer to the last call, which may stand.

    Raises
    ------
    ValueError
        Where some of the parameters are sharded and some are not, or not all alike.
    """
    tensors = sys.modules.get("torch.distributed.tensor")
    if tensors is not None and any(isinstance(p, tensors.DTensor) for p in shared):
        from mtlgrad.engines.shards import Shards

        return before if isinstance(before, Shards) and before.of(shared) else Shards(shared)
    if not (dist.is_available() and dist.is_initialized()):
        return Processes()  # a group of one is served as several are: DistributedDataParallel may be in force
    from mtlgrad.engines.replicated import Replicas

    if isinstance(before, Replicas) and before.size == dist.get_world_size():
        return before
    return Replicas(shared)


def backward(loss: Tensor, *, retain_graph: bool, inputs: list[Tensor] | None) -> None:
    """`torch.autograd.backward` into `inputs`; None: into everything that the graph leads to."""
    with compiled_passes_explained():
        torch.autograd.backward(loss, retain_graph=retain_graph, inputs=inputs)


@contextmanager
def compiled_passes_explained() -> Iterator[None]:
    """Around a backward pass: say what to do where a compiled model allows no second one."""
    try:
        yield
    except RuntimeError as error:
        if "donated" not in str(error):
            raise
        raise RuntimeError(
            "a torch.compile'd model frees buffers in its first backward pass, and several losses need several passes: "
            "set torch._functorch.config.donated_buffer = False before the model is compiled"
        ) from error
