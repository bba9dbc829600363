"""Run on every rank: the comparison's loop, each process with its part of the batches, then what goes wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

import mtlgrad
from mtlgrad.compare import Phase, own_part
from mtlgrad.compare.history import History
from mtlgrad.compare.loop import train
from tests.compare.linear import Linear


class Parted(Linear):
    """The task of the loop's tests without dropout, which draws for each sample, on this process's part."""

    def step(self, index: int) -> Iterator[Phase]:
        self.dropout.eval()
        yield from super().step(index)

    def _features(self) -> tuple[torch.Tensor, torch.Tensor]:
        x = own_part(torch.randn(16, 4, generator=self.generator))
        return x, torch.tanh(self.trunk(x))


METHODS = {"gh": mtlgrad.GH(), "uw": mtlgrad.UW(), "graddrop": mtlgrad.GradDrop()}


def curve(history: History) -> list[tuple[int, dict[str, float]]]:
    return [(one.step, one.metrics) for one in history.curve]


def histories(accelerator: Accelerator) -> dict[str, Any]:
    found = {}
    for name, method in METHODS.items():
        history = train(Parted(), method, seed=1, evaluate_every=5, diagnose_every=5, accelerator=accelerator)
        found[name] = (history.status, curve(history))
    return found


def case_loop() -> dict[str, Any]:
    """In the environment that `accelerate launch` gives."""
    rank, size = str(dist.get_rank()), str(dist.get_world_size())
    given = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": size,
        "ACCELERATE_USE_CPU": "true",
    }
    os.environ |= {**given, "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    try:
        accelerator = Accelerator()
        assert accelerator.num_processes == dist.get_world_size()
        return histories(accelerator)
    finally:
        for one in (AcceleratorState, GradientState, PartialState):
            one._reset_state()
        for name in (*given, "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)


def case_parts() -> tuple[torch.Tensor, str]:
    try:
        own_part(torch.zeros(3))
    except ValueError as error:
        return own_part(torch.arange(4)), str(error)
    return torch.zeros(0), ""
