"""Parameters in blocks against one pass a task: the same update, and no more memory than a block takes."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import mtlgrad
from mtlgrad import Balancer
from mtlgrad.engines.in_blocks import InBlocks
from tests.engines.comparing import METHODS, TASKS, assert_same, both
from tests.engines.models import MODELS, heads


@pytest.mark.parametrize("name", MODELS)
def test_every_model(name: str) -> None:
    assert_same(both(InBlocks, mtlgrad.CAGrad(), MODELS[name](torch.float64), 2), 1e-10)
    assert_same(both(InBlocks, mtlgrad.CAGrad(), MODELS[name](torch.float64), 3, apply="loss", steps=2), 1e-10)
    assert_same(both(InBlocks, mtlgrad.CAGrad(), MODELS[name](torch.float64), 2, groups="tensor"), 1e-10)
    assert_same(both(InBlocks, mtlgrad.CAGrad(), MODELS[name](torch.float32), 2), 2e-4)


@pytest.mark.parametrize(("name", "m"), TASKS)
def test_every_method(name: str, m: int) -> None:
    assert_same(both(InBlocks, METHODS[name], MODELS["branches and an idle layer"](torch.float64), m, steps=2), 1e-10)


def test_scale_and_private() -> None:
    found = both(InBlocks, mtlgrad.MGDA(), MODELS["plain"](torch.float64), 3, backward={"scale": 512.0}, private=[])
    assert all(g is None for g in found[0][-6:])
    assert_same(found, 1e-10)


choosing = importlib.import_module("mtlgrad.engines.choose")  # the package has a function of this name


def wide(**arguments: Any) -> tuple[Balancer, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    trunk = nn.Sequential(*[layer for _ in range(6) for layer in (nn.Linear(40, 40), nn.ReLU())])
    losses = {str(i): (nn.Linear(40, 1)(trunk(torch.randn(2000, 40))) - i).square().mean() for i in range(3)}
    return Balancer(mtlgrad.MGDA(), trunk, **arguments), losses


def test_lean_takes_the_least_memory() -> None:
    balancer, losses = wide(memory="lean")
    balancer.backward(losses)
    assert balancer.engine is not None
    assert balancer.engine.name == "parameters in blocks"
    assert balancer.engine.cost.memory == 3 * 40 * 40 * 4


def test_where_rows_do_not_fit_memory_counts_first(monkeypatch: pytest.MonkeyPatch) -> None:
    balancer, losses = wide()
    balancer.backward(losses, retain_graph=True)  # may try whether the losses are of disjoint samples
    balancer.backward(losses, retain_graph=True)
    assert balancer.engine is not None
    assert balancer.engine.name == "one pass a task"
    monkeypatch.setattr(choosing, "_LOOKED_AFTER", 0)
    monkeypatch.setattr(choosing, "free_memory", lambda device: 50_000)
    balancer.backward(losses, retain_graph=True)
    assert balancer.engine.name == "parameters in blocks"
    assert "48.8 KiB are free" in balancer.engine.others["one pass a task"]
    monkeypatch.setattr(choosing, "free_memory", lambda device: None)
    balancer.backward(losses)
    assert balancer.engine.name == "one pass a task"


def test_a_reentrant_checkpoint_is_left_to_whole_passes() -> None:
    model, own = MODELS["plain"](torch.float64), heads(2, torch.float64)
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    z = checkpoint(model.trunk, x, use_reentrant=True)
    balancer = Balancer(mtlgrad.MGDA(), model.trunk, memory="lean")
    balancer.backward({"a": own[0](z).square().sum(), "b": own[1](z).sum()})
    assert balancer.engine is not None
    assert balancer.engine.name == "one pass a task"
    assert "reentrant" in balancer.engine.others["parameters in blocks"]


def test_memory_is_checked() -> None:
    with pytest.raises(ValueError, match="memory must be 'fast' or 'lean', got 'low'"):
        Balancer(mtlgrad.MGDA(), nn.Linear(2, 2), memory="low")  # type: ignore[arg-type]
