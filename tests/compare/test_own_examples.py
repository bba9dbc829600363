"""The example of a problem of one's own, and the script that takes few changes to be compared."""

from __future__ import annotations

import difflib
import runpy
from pathlib import Path

import pytest

from mtlgrad.compare import compare

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def test_a_script_is_compared_with_at_most_eight_changed_lines_and_the_page_shows_them() -> None:
    before, after = ((EXAMPLES / f"{name}.py").read_text().splitlines() for name in ("two_heads", "two_heads_compared"))
    names = ("two_heads.py", "two_heads_compared.py")
    shown = list(difflib.unified_diff(before, after, *names, n=1, lineterm=""))
    added = [line for line in shown[2:] if line.startswith("+")]
    removed = [line for line in shown[2:] if line.startswith("-")]
    assert max(len(added), len(removed)) <= 8
    assert "\n".join(shown) in (ROOT / "docs" / "own_problem.md").read_text()


def test_the_changed_script_trains_as_the_plain_one_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "two_heads.py"))["main"]()
    printed = capsys.readouterr().out
    train = runpy.run_path(str(EXAMPLES / "two_heads_compared.py"))["main"]
    metrics = {"accuracy": "max", "ink error": "min"}
    results = compare(train, methods=["sum"], metrics=metrics, seeds=1, out=tmp_path, jobs=1, quiet=True)
    (run,) = results.runs
    assert run.metrics is not None, run.reason
    accuracy, error = run.metrics.final["accuracy"], run.metrics.final["ink error"]
    assert printed == f"accuracy {accuracy:.1f} %, ink error {error:.4f}\n"


def test_the_example_of_an_own_problem_is_short_and_its_function_runs(tmp_path: Path) -> None:
    path = EXAMPLES / "own_problem.py"
    assert len(path.read_text().splitlines()) <= 60
    train = runpy.run_path(str(path))["train"]
    metrics = {"ring accuracy": "max", "height error": "min", "sign accuracy": "max"}
    results = compare(train, methods=["gh"], metrics=metrics, seeds=1, out=tmp_path, jobs=1, quiet=True)
    (run,) = results.runs
    assert run.status == "ok", run.reason
    assert run.metrics is not None
    accuracy = run.metrics.final["ring accuracy"]
    assert accuracy is not None
    assert accuracy > 60  # by chance: 33
    assert run.phases["balancer"].tasks == ["ring", "height", "sign"]
