"""What `compare` may be asked from Python, and what it says to the rest."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mtlgrad
from mtlgrad.compare import FunctionRun, compare
from mtlgrad.compare.results import Results
from mtlgrad.compare.suite import SuiteError, load


def told(method: mtlgrad.Method, run: FunctionRun) -> dict[str, float]:
    """The number of its options, and its size."""
    return {"loss": len(run.options) + run.seed, "size": float(run.options.get("size", 0))}


def ask(out: Path, **changed: Any) -> Results:
    request: dict[str, Any] = {"methods": ["sum"], "metrics": {"loss": "min"}, "seeds": 1, "jobs": 1, "quiet": True}
    return compare(**{"problem": told, "out": out, **request, **changed})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip": float("inf")}, "options['clip']=inf is not finite; allowed: a finite number, or None"),
        ({"lr": [1.0, float("nan")]}, "options['lr'][1]=nan is not finite"),
        ({"root": Path("/x")}, "options['root']=PosixPath('/x') is a PosixPath; allowed: None, bool, int, "),
        ({"root": {"of": Path("/x")}}, "for a path pass str(path)"),
        ({"w": torch.ones(2)}, "options['w']=tensor([1., 1.]) is a Tensor; allowed: "),
        ({"w": np.ones(2)}, "pass its .tolist()"),
        ({"kinds": {1: "a"}}, "options['kinds'] has the key 1, a int; allowed: str"),
        ({3: "a"}, "options has the key 3, a int; allowed: str"),
        ([("a", 1)], "options must be a mapping of names to values, got [('a', 1)]"),
    ],
)
def test_options_that_no_result_file_can_hold_are_refused_by_name(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ask(tmp_path, options=options)
    assert not list(tmp_path.iterdir())


def test_options_of_numpy_and_tuples_are_found_again(tmp_path: Path) -> None:
    options = {"size": np.float32(2.5), "steps": np.int64(3), "flag": np.bool_(True), "shape": (4, np.int32(2))}
    for _ in range(2):
        (run,) = ask(tmp_path, options=options).runs
        assert run.problem_options == {"size": 2.5, "steps": 3, "flag": True, "shape": [4, 2]}
    (same,) = ask(tmp_path, options={"size": 2.5, "steps": 3, "flag": True, "shape": [4, 2]}).runs
    assert same == run


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rate = 0.001", "rate = inf"),
        ('form = "rotation"', "form = nan"),
        ("target_bias = 1.0", "target_bias = 2026-01-01"),
    ],
)
def test_options_of_a_suite_are_held_to_the_same(suite_file: Path, old: str, new: str) -> None:
    suite_file.write_text(suite_file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    name = new.partition(" = ")[0]
    with pytest.raises(SuiteError, match=rf"{name}=.*; allowed: .*"):
        load(suite_file)


@pytest.mark.parametrize("seeds", [np.int64(2), [np.int64(0), 1], np.arange(2), range(2)])
def test_seeds_may_be_any_integers(tmp_path: Path, seeds: Any) -> None:
    assert [run.seed for run in ask(tmp_path, seeds=seeds).runs] == [0, 1]


@pytest.mark.parametrize("seeds", [0, -1, True, 2.0, "3", [], [0.5], [-1], None])
def test_seeds_that_are_none_are_refused(tmp_path: Path, seeds: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(f"got {seeds!r}")) as refused:
        ask(tmp_path, seeds=seeds)
    assert str(refused.value).startswith("seeds must be how many, an int >= 1, or which, ints >= 0 such as [0, 4]")


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True])
def test_jobs_are_at_least_one(tmp_path: Path, jobs: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"jobs={jobs}.*allowed: int >= 1"):
        ask(tmp_path, jobs=jobs)
    assert not list(tmp_path.iterdir())


def test_a_metric_may_be_a_table_as_the_docstring_has_it(tmp_path: Path) -> None:
    assert compare.__doc__ is not None
    keys = re.search(r"a table with `(\w+)`, `(\w+)` and\s+`(\w+)`", compare.__doc__)
    assert keys is not None
    table = dict(zip(keys.groups(), ("min", "cm", 0.5), strict=True))
    assert ask(tmp_path, metrics={"loss": table}).metrics["loss"].model_dump() == table


def sized(method: mtlgrad.Method, run: FunctionRun, size: int = 1) -> dict[str, float]:
    return {"loss": float(size)}


class Trainer:
    """With a state of its own."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, method: mtlgrad.Method, run: FunctionRun) -> dict[str, float]:
        return {"loss": float(self.size)}

    def train(self, method: mtlgrad.Method, run: FunctionRun) -> dict[str, float]:
        return self(method, run)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda size: functools.partial(sized, size=size), "sized"),
        (Trainer, "trainer"),
        (lambda size: Trainer(size).train, "trainer-train"),
    ],
)
def test_a_partial_function_or_an_object_is_known_by_what_it_holds(tmp_path: Path, make: Any, name: str) -> None:
    for _ in range(2):
        results = ask(tmp_path, problem=make(3))
        assert [run.metrics and run.metrics.final["loss"] for run in results.runs] == [3.0]
        assert results.suite.name == name
    with pytest.raises(SuiteError, match="holds 1 finished results of other settings"):
        ask(tmp_path, problem=make(4))
    (run,) = ask(tmp_path, problem=make(4), overwrite=True).runs
    assert run.metrics is not None
    assert run.metrics.final["loss"] == 4.0
