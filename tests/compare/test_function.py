"""A problem of one's own: a function, a file, a class; from Python, from a suite, in any number of processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import mtlgrad
from mtlgrad.compare import FunctionRun, compare
from mtlgrad.compare.command import main
from mtlgrad.compare.function import call
from mtlgrad.compare.history import History
from mtlgrad.compare.schema import Run, read_run
from mtlgrad.compare.table import notes
from mtlgrad.compare.watched import Watched
from tests.compare import own
from tests.compare.linear import Linear

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
METRICS = {"loss": "min", "share below 1": "max"}

SUITE = """
name = "own"
problem = "own.py:train"
seeds = [0, 1]
baseline = "sum"
steps = 12

[metrics]
loss = "min"
"share below 1" = "max"

[[methods]]
label = "sum"
method = "sum"

[[methods]]
label = "GH"
method = "gh"

[[methods]]
label = "mine"
method = "own.py:Halves"
"""


def observed(folder: Path) -> dict[str, dict[str, Any]]:
    """Runs by file name, times aside."""
    times = {"started", "finished", "step_ms", "jobs", "problem"}
    return {path.name: read_run(path).model_dump(exclude=times) for path in sorted((folder / "runs").glob("*.json"))}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(Path(own.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "own.toml").write_text(SUITE, encoding="utf-8")
    return tmp_path


def run_of(tmp_path: Path, **options: Any) -> FunctionRun:
    history = History(total_steps=0, metric="loss")
    return FunctionRun(0, options, torch.device("cpu"), tmp_path / "checkpoint.pt", history)


def test_what_a_function_did_is_on_record(tmp_path: Path) -> None:
    history = call(own.train, mtlgrad.GH(), run_of(tmp_path), ["loss"])
    assert (history.status, history.steps, history.metric) == ("ok", 12, "loss")
    assert [one.step for one in history.curve] == [4, 8, 12]
    assert history.final is not None
    assert set(history.final.metrics) == {"loss", "share below 1"}
    assert history.final.validation_score == -history.final.metrics["loss"]
    assert history.decisions["balancer"].tasks == ["a", "b", "c"]
    assert history.decisions["balancer"].measured == 2
    assert len(history.step_ms) == 11


def test_an_interrupted_function_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole = call(own.train, mtlgrad.GH(), run_of(tmp_path / "a"), ["loss"])
    for_now = run_of(tmp_path / "b", exit_at=9)
    with pytest.raises(SystemExit):
        call(own.train, mtlgrad.GH(), for_now, ["loss"])
    resumed = call(own.train, mtlgrad.GH(), run_of(tmp_path / "b"), ["loss"])
    assert [(one.step, one.metrics) for one in resumed.curve] == [(one.step, one.metrics) for one in whole.curve]
    assert resumed.decisions == whole.decisions
    assert (resumed.steps, resumed.skipped) == (whole.steps, whole.skipped)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (None, "must return its metrics"),
        ({}, "must return its metrics"),
        ({"accuracy": 1.0}, "returned accuracy; metric 'loss' is missing"),
        ({"loss": "low"}, r"metrics\['loss'\] must be a number, got 'low'"),
    ],
)
def test_what_a_function_may_return(tmp_path: Path, returned: Any, told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        call(lambda method, run: returned, mtlgrad.GH(), run_of(tmp_path), ["loss"])


def test_a_number_that_is_none_is_divergence(tmp_path: Path) -> None:
    history = call(lambda method, run: {"loss": float("nan")}, mtlgrad.GH(), run_of(tmp_path), ["loss"])
    assert (history.status, history.reason) == ("diverged", "loss is nan")


def test_a_file_a_module_and_a_value_give_the_same_numbers_in_one_process_and_in_two(here: Path) -> None:
    suite = ["compare", str(here / "own.toml"), "--out"]
    assert main([*suite, str(here / "file"), "--jobs", "1"]) == 0
    assert main([*suite, str(here / "two"), "--jobs", "2"]) == 0
    methods = {"sum": "sum", "GH": mtlgrad.GH(), "mine": own.Halves()}
    options = {"steps": 12}
    for name, problem in (("value", own.train), ("module", "tests.compare.own:train")):
        compare(problem, methods=methods, metrics=METRICS, seeds=2, name="own", out=here / name, options=options,
                jobs=1, quiet=True)  # fmt: skip
    wanted = observed(here / "file" / "own")
    assert len(wanted) == 6
    assert all(run["status"] == "ok" for run in wanted.values())
    assert observed(here / "two" / "own") == wanted
    for other in ("value", "module"):
        found = observed(here / other / "own")
        assert {name: run["metrics"] for name, run in found.items()} == {
            name: run["metrics"] for name, run in wanted.items()
        }


def test_a_class_with_phases_and_a_method_of_ones_own_by_import_path(tmp_path: Path) -> None:
    results = compare(
        Linear, methods=["sum", "tests.compare.own:Halves"], seeds=[3], out=tmp_path, options={"steps": 6},
        evaluate_every=3, jobs=1, quiet=True,
    )  # fmt: skip
    assert [(run.label, run.status, run.metric) for run in results.runs] == [
        ("Halves", "ok", "accuracy"),
        ("sum", "ok", "accuracy"),
    ]


SCRIPT = """
from dataclasses import dataclass
import torch
import mtlgrad.compare

@dataclass(frozen=True)
class Mine(mtlgrad.Scalarizer):
    traits = mtlgrad.method.Traits()

    def _weights(self, losses, **others):
        return torch.ones_like(losses)

def train(method, run):
    w = torch.nn.Parameter(torch.zeros(2))
    balancer = run.balancer(method, shared=[w])
    for step in range(5):
        w.grad = None
        balancer.backward({"a": (w - 1).square().sum(), "b": (w + 2).square().sum()})
        with torch.no_grad():
            w -= 0.1 * w.grad
    return {"loss": float(w.detach().square().sum())}

if __name__ == "__main__":
    results = mtlgrad.compare.compare(train, methods=["sum", "gh", Mine()], metrics={"loss": "min"}, seeds=2, jobs=2)
    assert all(run.status == "ok" for run in results.runs), [run.reason for run in results.runs]
"""


def test_a_script_of_ones_own_with_function_and_method_in_it_in_two_processes(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    runs = [read_run(path) for path in (tmp_path / "results" / "train" / "runs").glob("*.json")]
    assert len(runs) == 6
    assert {run.problem for run in runs} == {"script.py:train"}
    assert str(tmp_path) not in json.dumps([run.model_dump(mode="json") for run in runs])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("own.py:train", "none.py:train", "there is no file 'none.py' in "),
        ("own.py:train", "own.py:trian", r"own\.py:trian cannot be imported: .*trian"),
        ("own.py:train", "no.module:train", "train cannot be imported: No module named"),
        ("own.py:train", "own.py:FunctionRun", "does not derive from mtlgrad.compare.Problem"),
        ("own.py:train", "trane", "unknown problem 'trane'; known: or a path such as package.module:Name"),
        ("own.py:Halves", "tests.compare.own:train", "train"),
        ('loss = "min"', 'loss = "least"', "metrics.loss"),
    ],
)
def test_problems_and_methods_that_are_not_there(
    here: Path, old: str, new: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "own.toml").write_text(SUITE.replace(old, new), encoding="utf-8")
    assert main(["compare", str(here / "own.toml"), "--out", str(here / "out")]) == 2
    message = capsys.readouterr().err
    assert re.search(told, message), message
    assert message.count("\n") == 1


def test_a_metric_that_is_not_returned_fails_the_run_and_says_which(tmp_path: Path) -> None:
    def forgets(method: mtlgrad.Method, run: FunctionRun) -> dict[str, float]:
        return {"loss": 1.0}

    results = compare(forgets, methods=["sum"], metrics={"accuracy": "max"}, seeds=1, out=tmp_path, jobs=1, quiet=True)
    (run,) = results.runs
    assert isinstance(run, Run)
    assert run.status == "failed"
    assert "metric 'accuracy' is missing" in run.reason


def test_a_function_that_logs_another_metric_than_it_returns_has_a_table(tmp_path: Path) -> None:
    def logs(method: mtlgrad.Method, run: FunctionRun) -> dict[str, float]:
        run.log(10, {"train loss": 0.1})
        run.validation(0.9)
        run.log(20, {"train loss": 0.05})
        return {"accuracy": 80.0}

    results = compare(logs, methods=["sum"], metrics={"accuracy": "max"}, seeds=1, out=tmp_path, jobs=1, quiet=True)
    (row,) = results.rows["all"]
    assert row.final is not None
    assert (row.final.mean, row.best) == (80.0, None)
    (run,) = results.runs
    assert run.metrics is not None
    assert run.metrics.best is None, "a step without the main metric is nobody's best"


def test_a_misspelt_metric_of_a_class_fails_its_runs_at_their_first_evaluation(tmp_path: Path) -> None:
    results = compare(Linear, methods=["sum"], metrics={"acuracy": "max"}, seeds=1, out=tmp_path, options={"steps": 6},
                      evaluate_every=3, jobs=1, quiet=True)  # fmt: skip
    (run,) = results.runs
    told = "'tests.compare.linear:Linear' gives accuracy, norm; metric 'acuracy' is missing (did you mean 'accuracy'?)"
    assert run.status == "failed"
    assert told in run.reason
    mended = compare(Linear, methods=["sum"], metrics={"accuracy": "max"}, seeds=1, out=tmp_path, options={"steps": 6},
                     evaluate_every=3, jobs=1, quiet=True)  # fmt: skip
    assert [run.status for run in mended.runs] == ["ok"]


@pytest.mark.parametrize("keys", [{"columns": ["nrom"]}, {"metrics": {"accuracy": "max", "nrom": "min"}}])
def test_a_metric_that_no_run_has_is_told(tmp_path: Path, keys: dict[str, Any]) -> None:
    given: dict[str, Any] = {"seeds": 1, "out": tmp_path, "options": {"steps": 6}, "jobs": 1, "quiet": True}
    compare(Linear, methods=["sum", "gh"], **given)
    results = compare(Linear, methods=["sum", "gh"], **given, **keys)  # the runs are there and stay
    assert all(run.status == "ok" for run in results.runs)
    assert "No run has a metric 'nrom' (did you mean 'norm'?); there are: accuracy, norm." in notes(results)


def test_what_a_function_asked_for_is_on_record(tmp_path: Path) -> None:
    def train(method: mtlgrad.Method, run: FunctionRun) -> dict[str, float]:
        return {"loss": run.options["a"] + run.options.get("b", 1.0)}

    results = compare(train, methods=["sum"], seeds=1, out=tmp_path, options={"a": 1.0, "c": 2.0, "steps": 3}, jobs=1,
                      quiet=True)  # fmt: skip
    (run,) = results.runs
    assert run.options_read == ["a", "b"]
    assert run.all_problem_options == {"a": 1.0, "c": 2.0, "steps": 3}


@pytest.mark.parametrize(
    "read",
    [
        lambda options: dict(options),
        lambda options: {**options},
        lambda options: options.copy(),
        lambda options: options | {"b": 1},
        lambda options: list(options),
        lambda options: list(options.values()),
        lambda options: list(options.items()),
        lambda options: list(options.keys()),
        lambda options: options.pop("a"),
        lambda options: options.setdefault("a", 2),
        lambda options: "a" in options,
        lambda options: json.dumps(options),
        lambda options: (lambda **others: others)(**options),
        lambda options: (lambda a: a)(**options),
    ],
)
def test_every_way_of_reading_an_option_counts(read: Any) -> None:
    options = Watched({"a": 1})
    assert options == {"a": 1}
    assert not options.read
    read(options)
    assert "a" in options.read
