"""What processes that train the same parameters tell each other. Here: nothing, for there is one."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


class Processes:
    """One process. Several are a subclass, which overrides every method; all ranks call them in the same order.

    Engines call these and nothing else, so that all ranks decide from the same numbers.
    """

    def mean_jacobian(self, jacobian: Tensor) -> None:
        """Average J [m, n] over the ranks, in place, before G is formed."""

    def sum_gram(self, gram: Tensor) -> Tensor:
        """G [m, m] of all columns, from the one of this rank's shard."""
        return gram

    def mean_values(self, values: Tensor) -> Tensor:
        """The losses [m] of the whole batch, from those of this rank's part."""
        return values

    def mean_gradients(self, gradients: list[Tensor]) -> None:
        """Average gradients over the ranks, in place: those of private parameters, or of a single weighted pass."""

    def all_finite(self, finite: Tensor) -> Tensor:
        """Whether the bool [] is true on every rank."""
        return finite


def surrounding() -> Processes:
    """The processes this one is among.

    Raises
    ------
    RuntimeError
        Where there are several.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        raise RuntimeError(
            f"Balancer works in one process, and this is one of {dist.get_world_size()}: each rank would decide "
            "from its own gradients, and the ranks would drift apart"
        )
    return Processes()
