"""The comparison's loop on two processes draws the curve of one process with whole batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
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


def test_accelerate_launch_gives_the_same_curve(tmp_path: Path, alone: dict[str, Any]) -> None:
    # --multi_gpu is how the command is told to start several processes on one machine: without a GPU they meet by gloo.
    command = ["launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    module = ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "tests.distributed.launched", str(tmp_path)]
    started = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.accelerate_cli", *command, *module],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert started.returncode == 0, started.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1))
    assert first == second
    assert first["processes"] == 2
    # Threads of gloo that are still there when the interpreter goes abort it now and then.
    assert first["gloo"] == []
    for name, (status, curve) in first["histories"].items():
        assert status == "ok"
        for (step, metrics), (at, whole) in zip(curve, alone[name][1], strict=True):
            assert step == at
            assert metrics == pytest.approx(whole, rel=1e-4, abs=1e-5)


def test_each_process_has_its_own_part(ranks: Found) -> None:
    parts = [found["case_parts"] for found in ranks]
    assert [part.tolist() for part, _ in parts] == [[0, 1], [2, 3]]
    assert all(told == "a batch of 3 cannot be shared equally by 2 processes" for _, told in parts)
