"""Functions and classes that are given as values: what stands in no file is known by its code and what it holds."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import mtlgrad
from mtlgrad.aggregators.wrappers import Ema
from mtlgrad.compare import FunctionRun, compare
from mtlgrad.compare.environment import reread
from mtlgrad.compare.fingerprint import fingerprint, stands
from mtlgrad.compare.results import Results
from mtlgrad.compare.suite import SuiteError
from mtlgrad.method import Traits
from tests.compare import own
from tests.compare.linear import Linear
from tests.compare.test_function import ENVIRONMENT, METRICS

Function = Callable[[mtlgrad.Method, FunctionRun], dict[str, float]]


def ask(problem: Any, out: Path, **changed: Any) -> Results:
    request: dict[str, Any] = {"methods": ["sum"], "metrics": {"loss": "min"}, "seeds": 1, "jobs": 1, "quiet": True}
    return compare(problem, out=out, **{**request, **changed})


def losses(results: Results) -> dict[str, float | None]:
    return {run.label: run.metrics.final["loss"] for run in results.runs if run.metrics is not None}


def closure(w: Any) -> Function:
    def train(method: mtlgrad.Method, run: FunctionRun) -> dict[str, float]:
        return {"loss": float(w) + run.seed}

    return train


def with_default(size: float) -> Function:
    def train(method: mtlgrad.Method, run: FunctionRun, size: float = size) -> dict[str, float]:
        return {"loss": size}

    return train


def local_class(bias: float) -> type[Linear]:
    class Biased(Linear):
        def evaluate(self) -> dict[str, float]:
            return {**super().evaluate(), "accuracy": bias}

    return Biased


LAMBDAS: dict[float, Function] = {1: lambda method, run: {"loss": 1.0}, 100: lambda method, run: {"loss": 100.0}}


@pytest.mark.parametrize("make", [closure, with_default, LAMBDAS.__getitem__, lambda w: closure(torch.tensor(w))])
def test_functions_of_one_name_never_get_each_others_results(tmp_path: Path, make: Any) -> None:
    assert losses(ask(make(1), tmp_path, name="one")) == {"sum": 1.0}
    assert losses(ask(make(1), tmp_path, name="one", overwrite=False)) == {"sum": 1.0}
    with pytest.raises(SuiteError, match="holds 1 finished results of other settings"):
        ask(make(100), tmp_path, name="one")
    assert losses(ask(make(100), tmp_path, name="other")) == {"sum": 100.0}
    assert losses(ask(make(100), tmp_path, name="one", overwrite=True)) == {"sum": 100.0}


def test_classes_with_phases_of_one_name_never_get_each_others_results(tmp_path: Path) -> None:
    request: dict[str, Any] = {"metrics": None, "options": {"steps": 3}}
    (run,) = ask(local_class(1.0), tmp_path, **request).runs
    assert run.metrics is not None
    assert run.metrics.final["accuracy"] == 1.0
    with pytest.raises(SuiteError, match="of other settings"):
        ask(local_class(2.0), tmp_path, **request)


def local_method(value: float) -> mtlgrad.Method:
    @dataclass(frozen=True)
    class Mine(mtlgrad.GH):
        V = value

    return Mine()


def told(method: mtlgrad.Method, run: FunctionRun) -> dict[str, float]:
    return {"loss": float(getattr(method, "V", 0)) + run.seed}


def test_methods_of_one_name_stay_apart_in_one_process_and_in_two(tmp_path: Path) -> None:
    methods = {"sum": "sum", "a": local_method(1), "b": local_method(2)}
    for jobs in (1, 2):
        found = losses(ask(told, tmp_path / f"{jobs}", methods=methods, jobs=jobs))
        assert found == {"sum": 0.0, "a": 1.0, "b": 2.0}


def test_a_local_method_is_tuned_and_controlled(tmp_path: Path) -> None:
    methods = {"sum": "sum", "a": local_method(1), "b": local_method(2)}
    rate = {"option": "lr", "low": 0.01, "high": 1.0}
    tuning = {"trials": 2, "seeds": [100], "learning_rate": rate}
    found = losses(ask(own.train, tmp_path, methods=methods, tuning=tuning, controls=["frozen"], metrics=METRICS))
    assert {"a (tuned)", "b (tuned)", "frozen a (tuned)", "frozen b (tuned)"} <= found.keys()


def test_what_cannot_be_told_from_others_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"problem closure\.<locals>\.train .* captures 'w', .*options="):
        ask(closure(threading.Lock()), tmp_path)
    with pytest.raises(TypeError, match=r"method local_method\.<locals>\.Mine holds .*lock"):
        ask(told, tmp_path, methods=[local_method(threading.Lock())])  # type: ignore[arg-type]


class Plain(mtlgrad.GramAggregator):
    """Is no dataclass."""

    traits = Traits()

    def _weights(self, gram: torch.Tensor, **others: Any) -> torch.Tensor:
        return torch.ones_like(gram[0])


class Forgets(own.Halves):
    """Keeps its argument in no field."""

    def __init__(self, share: float = 0.5) -> None:
        object.__setattr__(self, "share", share)


def test_a_method_that_hyperparameters_do_not_make_again_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"method Forgets: .* which are none; it holds share\. .*dataclass"):
        ask(told, tmp_path, methods=[Forgets(2.0)])
    with pytest.raises(TypeError, match=r"method Plain: .* Decorate the class with @dataclass\(frozen=True\)"):
        ask(told, tmp_path, methods=[Plain()])
    assert losses(ask(told, tmp_path, methods=[own.Halves()])) == {"Halves": 0.0}


def test_a_method_of_ones_own_inside_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"Ema\(.* holds Halves\(\), which is not of the catalog"):
        ask(told, tmp_path, methods=[Ema(inner=own.Halves())])


CELL = """
import mtlgrad
from dataclasses import dataclass
RATE, seen = 1.0, []

def scaled(x):
    return RATE * x

@dataclass(frozen=True)
class Mine(mtlgrad.GH):
    V: int = 3

def train(method, run):
    seen.append(run.seed)
    return {"loss": scaled(2.0) + run.seed + getattr(method, "V", 0)}
"""


def typed(cell: str, number: int) -> dict[str, Any]:
    """What a notebook has after a cell was run."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(cell, f"<ipython-input-{number}-0123abc>", "exec"), space)
    return space


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)


@pytest.mark.usefixtures("prompt")
def test_a_cell_that_is_run_again_goes_on_and_one_that_is_edited_is_another(tmp_path: Path) -> None:
    def call(cell: str, number: int, **changed: Any) -> Results:
        space = typed(cell, number)
        return ask(space["train"], tmp_path, methods={"sum": "sum", "mine": space["Mine"]()}, **changed)

    first = call(CELL, 1)
    assert losses(first) == {"sum": 2.0, "mine": 5.0}
    assert first.suite.name == "train"
    again = call("# a remark\n" + CELL, 7, seeds=2)
    assert [run for run in again.runs if run.seed == 0] == list(first.runs)
    assert len(again.runs) == 4
    for old, new in (("+ run.seed", "- run.seed"), ("RATE, seen = 1.0", "RATE, seen = 9.0"), ("RATE *", "RATE +"),
                     ("V: int = 3", "V: int = 4")):  # fmt: skip
        edited = CELL.replace(old, new)
        assert edited != CELL
        with pytest.raises(SuiteError, match="of other settings"):
            call(edited, 8)


@pytest.mark.usefixtures("prompt")
def test_what_a_cell_imports_from_a_file_of_ones_own_belongs_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "cellnets.py").write_text("FACTOR = 1\ndef f():\n    return 1\n", encoding="utf-8")
    for cell in (
        "from cellnets import f\ndef train(method, run):\n    return {'loss': f()}",
        "import cellnets\ndef train(method, run):\n    return {'loss': cellnets.f()}",
        "def train(method, run):\n    import cellnets\n    return {'loss': cellnets.f()}",
    ):
        before = fingerprint(typed(cell, 1)["train"])
        assert fingerprint(typed(cell, 2)["train"]) == before
        (tmp_path / "cellnets.py").write_text(f"FACTOR = {len(cell)}\ndef f():\n    return 1\n", encoding="utf-8")
        assert fingerprint(typed(cell, 3)["train"]) != before


def test_an_edited_module_that_is_loaded_again_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "reloaded.py"
    path.write_text("def train(method, run):\n    return {'loss': 1.0}\n", encoding="utf-8")
    module = importlib.import_module("reloaded")
    try:
        (first,) = ask(module.train, tmp_path).runs
        assert first.problem == "reloaded:train"
        path.write_text("def train(method, run):\n    return {'loss': 22.0}\n", encoding="utf-8")
        ask(module.train, tmp_path)  # what was loaded is still what it was
        importlib.reload(module)
        with pytest.warns(UserWarning, match="1 of those there come from another version of the code"):
            ask(module.train, tmp_path)
    finally:
        sys.modules.pop("reloaded")
        reread()


SCRIPT = """
import mtlgrad.compare
from tools import FACTOR
def train(method, run):
    return {"loss": FACTOR + run.seed}
if __name__ == "__main__":
    mtlgrad.compare.compare(train, methods=["sum"], metrics={"loss": "min"}, seeds=1, jobs=1)
"""


def test_an_edit_of_a_script_or_of_what_it_imports_shows(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")

    def run(factor: int) -> str:
        (tmp_path / "tools.py").write_text(f"FACTOR = {factor}\n", encoding="utf-8")
        command = [sys.executable, str(tmp_path / "script.py")]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT, check=True).stdout

    assert "another version" not in run(1)
    assert "another version" not in run(1)
    assert "1 of those there come from another version of the code" in run(2)


@dataclass
class Settings:
    """A value that is captured."""

    rates: tuple[float, ...] = (0.1, 0.2)
    kinds: set[str] = field(default_factory=lambda: {"a", "b", "c", "d"})
    path: Path = Path("data")


def test_a_fingerprint_is_the_same_in_another_process() -> None:
    program = """
        import functools, torch
        from tests.compare.test_places import closure, local_class, local_method, Settings
        from mtlgrad.compare.fingerprint import fingerprint
        values = [closure(Settings()), closure({"a": [torch.ones(2), None]}), local_class(1.0), type(local_method(2)),
                  functools.partial(closure, w=3), closure("x").__get__(Settings())]
        print(*map(fingerprint, values))
    """
    found = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True,
            env={**ENVIRONMENT, "PYTHONHASHSEED": f"{seed}"},
        ).stdout
        for seed in (1, 2)
    }  # fmt: skip
    assert len(found) == 1
    here = [closure(Settings()), closure({"a": [torch.ones(2), None]}), local_class(1.0), type(local_method(2)),
            functools.partial(closure, w=3), closure("x").__get__(Settings())]  # fmt: skip
    assert found == {" ".join(map(fingerprint, here)) + "\n"}
    assert len(set(map(fingerprint, here))) == len(here)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Settings(), Settings(path=Path("other"))),
        (Settings(), Settings(kinds={"a"})),
        ([1, [2]], [1, 2]),
        ({"a": 1}, {"a": 1.0}),
        (torch.ones(2), torch.ones(1, 2)),
        (torch.ones(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.bfloat16)),
        (torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1)),
        ([].append, [1].append),
        (functools.partial(closure, 1), functools.partial(closure, 2)),
        (functools.cache(lambda: 1), functools.cache(lambda: 2)),
    ],
)
def test_other_values_have_other_fingerprints(one: Any, other: Any) -> None:
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(one) != fingerprint(other)


def test_a_thing_that_holds_itself_has_a_fingerprint() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    assert fingerprint(ring) != fingerprint([1, [1]])


def test_what_stands_in_a_file_is_called_by_its_name(tmp_path: Path) -> None:
    assert all(map(stands, (told, closure, Settings, own.train, own.Halves, Linear)))
    assert not any(map(stands, (closure(1), local_class(1.0), closure(1).__get__(1), functools.partial(told))))
    (run,) = ask(told, tmp_path).runs
    assert run.problem == "tests.compare.test_places:told"
