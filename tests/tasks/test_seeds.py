"""The seed of a problem's data is checked before anything runs: as large as random generators take, not larger."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tasks.detection.task import Detection
from tasks.retrieval.task import Retrieval
from tasks.uda.task import UDA

PROBLEMS: list[Any] = [Detection, Retrieval, UDA]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_data_seed_has_64_bits(problem: Any) -> None:
    assert problem(data_seed=2**64 - 1).data_seed == 2**64 - 1
    torch.Generator().manual_seed(2**64 - 1)
    np.random.default_rng([2**64 - 1, 0])
    for value in (2**64, 10**30, -1):
        with pytest.raises(
            ValueError, match=f"data_seed={value} is out of range; allowed: int >= 0 and <= {2**64 - 1}"
        ):
            problem(data_seed=value)
    for wrong in (True, 1.0, "1"):
        with pytest.raises(TypeError, match=f"data_seed={wrong!r} is a"):
            problem(data_seed=wrong)
