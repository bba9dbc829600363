"""The blocks against chains of functions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.detection.layers import BatchNorm, Body, Deconvolution


def set_apart(module: nn.Module) -> nn.Module:
    """Batch norms with statistics and scales of their own, so that leaving one out shows; evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight.data, part.running_var, part.bias.data, part.running_mean):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module.eval()


def norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    mean, var, weight, bias = (
        state[f"{name}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


@pytest.mark.parametrize("fusion", ["product", "sum"])
@pytest.mark.parametrize(("kernel", "cells"), [(2, 10), (3, 7)])
def test_deconvolution_module_is_the_published_chain(fusion: Any, kernel: int, cells: int) -> None:
    torch.manual_seed(0)
    module = set_apart(Deconvolution(3, 5, 4, kernel=kernel, stride=4 - kernel if kernel == 3 else 2, fusion=fusion))
    state = module.state_dict()
    below, side = torch.randn(2, 3, 5, 5), torch.randn(2, 5, cells, cells)
    # by hand: a deconvolution spreads each value over its kernel
    stride, spread = (2 if kernel == 2 else 1), torch.zeros(2, 4, cells, cells)
    for row in range(5):
        for column in range(5):
            patch = torch.einsum("ni,iohw->nohw", below[:, :, row, column], state["below.0.weight"])
            top, left = row * stride, column * stride
            spread[:, :, top : top + kernel, left : left + kernel] += patch
    spread += state["below.0.bias"][:, None, None]
    enlarged = norm(F.conv2d(spread, state["below.1.0.weight"], padding=1), state, "below.1.1")
    x = F.relu(norm(F.conv2d(side, state["side.0.0.weight"], padding=1), state, "side.0.1"))
    x = norm(F.conv2d(x, state["side.2.0.weight"], padding=1), state, "side.2.1")
    expected = F.relu(enlarged * x if fusion == "product" else enlarged + x)
    torch.testing.assert_close(module(below, side), expected)


@pytest.mark.parametrize(("kernel", "stride", "shrink"), [(2, 2, True), (3, 1, True), (3, 1, False)])
def test_body_is_the_published_chain(kernel: int, stride: int, shrink: bool) -> None:
    torch.manual_seed(0)
    module = set_apart(Body(5, 3, 7, kernel=kernel, stride=stride, shrink=shrink))
    state, x = module.state_dict(), torch.randn(2, 5, 6, 6)
    inside = F.relu(norm(F.conv2d(x, state["residual.0.0.weight"]), state, "residual.0.1"))
    padding = 0 if shrink else 1
    inside = F.conv2d(inside, state["residual.2.0.weight"], stride=stride, padding=padding)
    inside = F.relu(norm(inside, state, "residual.2.1"))
    residual = norm(F.conv2d(inside, state["residual.4.0.weight"]), state, "residual.4.1")
    shortcut = norm(F.conv2d(x, state["shortcut.0.weight"], stride=stride), state, "shortcut.1")
    torch.testing.assert_close(module(x), F.relu(residual + shortcut))
    side = {2: 3, 3: 4 if shrink else 6}[kernel]
    assert module(x).shape == (2, 7, side, side)
    reach = kernel if shrink else 1
    assert state["shortcut.0.weight"].shape == (7, 5, reach, reach)


def test_batch_norm_of_a_single_value_uses_what_it_has_seen() -> None:
    module, usual = BatchNorm(3), nn.BatchNorm2d(3)
    many = torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(module(many), usual(many))
    before = copy.deepcopy(module.state_dict())
    one = torch.randn(1, 3, 1, 1)
    torch.testing.assert_close(module(one), usual.eval()(one))
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
