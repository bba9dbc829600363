"""Run on every rank: all methods of the catalog, on plain, wrapped and sharded models."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from tests.distributed.problem import Tasks, methods, trained, values

PLAIN = ("uw", "gh", "pcgrad", "graddrop", "graddrop_activations", "moco", "every")


def own(x: Tensor) -> Tensor:
    """This rank's part of a batch."""
    return x.chunk(dist.get_world_size())[dist.get_rank()]


def sharded(model: Tasks) -> Tasks:
    for layer in model.trunk:
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    return fully_shard(model)


def _all(wrap: Any, names: Sequence[str] = ()) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, method in methods().items():
        if names and name not in names:
            continue
        try:
            model, balancer, records = trained(method, wrap, own)
            found[name] = (values(model), records[-1].losses, balancer.state_dict(), str(balancer.engine))
        except Exception:
            found[name] = traceback.format_exc()
    return found


def case_plain() -> dict[str, Any]:
    """What is in force is the same as for wrapped models: a method of each kind."""
    return _all(lambda model: model, PLAIN)


def case_wrapped() -> dict[str, Any]:
    return _all(DistributedDataParallel)


def case_sharded() -> dict[str, Any]:
    return _all(sharded)
