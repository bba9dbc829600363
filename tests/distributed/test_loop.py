"""The comparison's loop on two processes draws the curve of one process with whole batches."""

from __future__ import annotations

from typing import Any

import pytest
from accelerate import Accelerator

from tests.distributed.cases_loop import METHODS, histories

Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return histories(Accelerator(cpu=True))


@pytest.mark.parametrize("name", list(METHODS))
def test_the_curve_is_that_of_whole_batches(ranks: Found, alone: dict[str, Any], name: str) -> None:
    for found in ranks:
        assert not isinstance(found["case_loop"], str), found["case_loop"]
    (status, first), (_, second) = (found["case_loop"][name] for found in ranks)
    assert status == "ok"
    assert first == second
    wanted = alone[name][1]
    assert [step for step, _ in first] == [step for step, _ in wanted] == [5, 10, 15, 20]
    for (_, metrics), (_, whole) in zip(first, wanted, strict=True):
        assert metrics == pytest.approx(whole, rel=1e-4, abs=1e-5)
    assert wanted[0][1] != wanted[-1][1]  # a curve at all


def test_each_process_has_its_own_part(ranks: Found) -> None:
    parts = [found["case_parts"] for found in ranks]
    assert [part.tolist() for part, _ in parts] == [[0, 1], [2, 3]]
    assert all(told == "a batch of 3 cannot be shared equally by 2 processes" for _, told in parts)
