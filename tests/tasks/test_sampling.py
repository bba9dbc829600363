"""Batches and seeds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.sampling import batch_rows, stream_seed


@settings(deadline=None, max_examples=50)
@given(count=st.integers(1, 40), data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_batches_pass_over_every_row_once(count: int, data: st.DataObject, seed: int) -> None:
    size = data.draw(st.integers(1, count))
    per_pass = count // size
    for number in range(3):
        rows = torch.cat([batch_rows(count, size, number * per_pass + k, seed=seed) for k in range(per_pass)])
        assert len(rows.unique()) == per_pass * size
        assert 0 <= int(rows.min()) <= int(rows.max()) < count


def test_passes_differ_and_are_functions_of_their_arguments() -> None:
    first, second, other = (batch_rows(50, 50, index, seed=seed) for index, seed in ((0, 1), (1, 1), (0, 2)))
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(first, batch_rows(50, 50, 0, seed=1))
    with pytest.raises(ValueError, match="batch_size=51 .* up to 50"):
        batch_rows(50, 51, 0, seed=1)


def test_streams_are_independent_of_each_other_and_of_the_step() -> None:
    seeds = [stream_seed(seed, stream, index) for seed in (0, 1) for stream in ("a", "b", "ab") for index in range(5)]
    assert len(set(seeds)) == len(seeds)
