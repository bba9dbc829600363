"""Every method on two ranks is the method on one process with the whole batch, and the ranks agree bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.distributed.cases_catalog import PLAIN
from tests.distributed.problem import methods, trained, values

CASES = [(kind, name) for kind in ("wrapped", "sharded") for name in methods()] + [("plain", name) for name in PLAIN]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_two_ranks_are_one_process_with_the_whole_batch(ranks: list[dict[str, Any]], kind: str, name: str) -> None:
    first, second = (found[f"case_{kind}"][name] for found in ranks)
    assert not isinstance(first, str), first
    model, balancer, records = trained(methods()[name])
    torch.testing.assert_close(first[0], values(model), rtol=0, atol=1e-5)
    torch.testing.assert_close(first[1], records[-1].losses, rtol=1e-5, atol=1e-5)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert _equal(first[2], second[2])
    assert _shapes(first[2]) == _shapes(balancer.state_dict())
    balancer.load_state_dict(first[2])  # a state is of no number of ranks


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_equal(*both) for both in zip(a, b, strict=True))
    return bool(a == b)


def _shapes(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return state.shape
    if isinstance(state, dict):
        return {key: _shapes(value) for key, value in state.items()}
    return [_shapes(one) for one in state] if isinstance(state, list | tuple) else type(state)
