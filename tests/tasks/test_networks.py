"""Networks are left in the mode they were in, and torch's generator where it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tasks.networks import evaluating, seeded


def modes(*modules: nn.Module) -> list[bool]:
    return [part.training for module in modules for part in module.modules()]


def test_each_part_gets_its_own_mode_back_whatever_happens() -> None:
    first, second = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)), nn.Linear(2, 2)
    first[1].eval()
    before = modes(first, second)
    with evaluating(first, second):
        assert not any(modes(first, second))
    assert modes(first, second) == before
    with pytest.raises(RuntimeError, match="within"), evaluating(first, second):
        raise RuntimeError("within")
    assert modes(first, second) == before == [True, True, False, True]


def test_the_callers_generator_goes_on_where_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with seeded(1):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with seeded(1):
        assert torch.equal(torch.rand(2), inside)
    assert not torch.equal(inside, expected)
