"""Rows that follow from results: what they are made from, that they stay what they are, what is said without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mtlgrad import Method
from mtlgrad.compare import FunctionRun, compare
from mtlgrad.compare.command import main
from mtlgrad.compare.results import Results, load_results
from mtlgrad.compare.schema import Run, read_run
from mtlgrad.compare.sensitivity import tuned_rows
from mtlgrad.compare.sentences import headline, limitations
from mtlgrad.compare.suite import SuiteError
from mtlgrad.compare.table import notes

RATE = {"option": "lr", "low": 0.001, "high": 10.0}


def scored(method: Method, run: FunctionRun) -> dict[str, float]:
    """Settings that are better the nearer the learning rate is to 0.1; `bad` of `of` diverge or fail above `above`."""
    rate, options = run.options.get("lr", 0.1), run.options
    run.validation(-abs(rate - 0.1))
    if "lr" in options and method.name in options.get("of", ()) and rate > options.get("above", 0.0):
        mark = options.get("mark")
        if options["bad"] == "fails" and not (mark and Path(mark).exists()):
            raise RuntimeError("singular")
        if options["bad"] == "diverges":
            return {"accuracy": float("nan")}
    return {"accuracy": 70.0 + run.seed + 5.3 * (method.name == "GH") * (1 + 0.1 * run.seed)}


def tuned(out: Path, *, seeds: int = 5, trials: int = 4, methods: Any = ("sum", "gh"), **options: Any) -> Results:
    tuning = {"trials": trials, "seeds": [100], "learning_rate": RATE}
    return compare(scored, methods=methods, metrics={"accuracy": "max"}, seeds=seeds, out=out, tuning=tuning,
                   options=options, jobs=1, quiet=True, name="tuned")  # fmt: skip


@pytest.mark.parametrize("bad", ["diverges", "fails"])
def test_without_a_tuned_baseline_nothing_is_judged(tmp_path: Path, bad: str) -> None:
    results = tuned(tmp_path, bad=bad, of=["Sum"])
    assert results.suite.baseline == "sum (tuned)"
    assert not any(row.verdicts or row.difference for row in results.rows["all"])
    assert headline(results) == (
        "Nothing is judged, as there is no sum (tuned) to judge by: no trial ended well."
    )  # fmt: skip
    assert "No row `sum (tuned)` in all: no trial ended well. Nothing is judged there." in notes(results)
    (baseline,) = (one for one in tuned_rows(results) if one.label == "sum")
    assert baseline.cells()[2:5] == ["4", f"0 (4 {'diverged' if bad == 'diverges' else 'failed'})",
                                     "none: no trial ended well"]  # fmt: skip


def test_where_one_arm_has_no_tuned_baseline_the_others_are_judged(tmp_path: Path) -> None:
    arms = [
        {"name": "well", "title": "well", "options": {"of": []}},
        {"name": "ill", "title": "ill", "options": {"of": ["Sum"], "bad": "diverges"}},
    ]
    tuning = {"trials": 2, "seeds": [100], "learning_rate": RATE}
    results = compare(scored, methods=["sum", "gh"], metrics={"accuracy": "max"}, seeds=5, out=tmp_path, tuning=tuning,
                      arms=arms, jobs=1, quiet=True)  # fmt: skip
    judged = {name: [row.label for row in rows if row.verdicts] for name, rows in results.rows.items()}
    assert judged == {"well": ["gh (tuned)"], "ill": []}
    assert "1 comparison with sum (tuned)" in headline(results)
    assert "No row `sum (tuned)` in ill: no trial ended well. Nothing is judged there." in notes(results)


def test_what_cannot_be_tuned_has_no_row_and_this_is_said(tmp_path: Path) -> None:
    results = tuned(tmp_path, methods=["sum", "gh", "mgda"], bad="fails", of=["GH"])
    assert [row.label for row in results.rows["all"] if row.verdicts] == ["mgda (tuned)"]
    assert "No row `gh (tuned)` in all: no trial ended well." in notes(results)


def test_weights_that_cannot_be_tuned_are_called_by_their_own_name(tmp_path: Path) -> None:
    def train(method: Method, run: FunctionRun) -> dict[str, float]:
        w = torch.nn.Parameter(torch.zeros(2))
        run.balancer(method, shared=[w]).backward({"a": (w - 1).square().sum(), "b": (w + 1).square().sum()})
        run.validation(-run.options.get("lr", 0.1))
        if type(method).__name__ == "Fixed":
            raise RuntimeError("no constant weights")
        return {"loss": 1.0 + run.seed}

    tuning = {"trials": 2, "seeds": [100], "learning_rate": RATE}
    results = compare(train, methods=["sum"], metrics={"loss": "min"}, seeds=1, out=tmp_path, tuning=tuning,
                      controls=["tuned weights", "single task"], jobs=1, quiet=True)  # fmt: skip
    assert {text for text in notes(results) if text.startswith("No row")} == {
        f"No row `{label}` in all: no trial ended well." for label in ("tuned weights", "only a", "only b")
    }
    assert any("well-chosen fixed weights" in text and "trained apart" in text for text in limitations(results))


def test_controls_that_need_to_know_the_tasks_say_what_they_lack(tmp_path: Path) -> None:
    results = compare(
        scored, methods=["sum", "gh"], seeds=1, out=tmp_path, controls=["single task"], jobs=1, quiet=True
    )
    assert any("'single task': no run tells which tasks there are" in note for note in notes(results))
    assert any("whether the tasks are better trained apart" in text for text in limitations(results))


def test_a_problem_without_validation_scores_is_not_called_ill(tmp_path: Path) -> None:
    def blind(method: Method, run: FunctionRun) -> dict[str, float]:
        return {"accuracy": 1.0 + run.seed + 0.0 * run.options.get("lr", 0.0)}

    tuning = {"trials": 2, "seeds": [100], "learning_rate": RATE}
    results = compare(blind, methods=["sum", "gh"], metrics={"accuracy": "max"}, seeds=2, out=tmp_path, tuning=tuning,
                      jobs=1, quiet=True)  # fmt: skip
    why = "no trial that ended well has a validation score"
    assert headline(results).endswith(f"{why}.")
    assert {one.cells()[3] for one in tuned_rows(results)} == {"2"}
    assert {one.cells()[4] for one in tuned_rows(results)} == {f"none: {why}"}


def test_a_trial_that_fails_is_counted_and_the_best_of_the_others_is_chosen(tmp_path: Path) -> None:
    results = tuned(tmp_path, bad="fails", of=["GH"], above=1.0)
    (row,) = (one for one in tuned_rows(results) if one.label == "gh (tuned)")
    assert row.cells()[2:4] == ["4", "3 (1 failed)"]
    best = {run.problem_options["lr"] for run in results.runs if run.label == "gh (tuned)"}
    assert row.chosen == f"lr = {best.pop():.3g}"
    assert [one.label for one in results.rows["all"] if one.verdicts] == ["gh (tuned)"]
    before = files(tmp_path / "tuned")
    again = tuned(tmp_path, bad="fails", of=["GH"], above=1.0)  # the failed trial is tried again, and fails again
    assert [run.digest for run in again.runs] == [run.digest for run in results.runs]
    assert {name: data for name, data in files(tmp_path / "tuned").items() if "trial" not in name} == {
        name: data for name, data in before.items() if "trial" not in name
    }


def test_a_failed_trial_that_does_well_at_its_second_try_replaces_nothing_unasked(tmp_path: Path) -> None:
    mark = tmp_path / "mended"
    tuning: dict[str, Any] = {"bad": "fails", "of": ["GH"], "above": 0.02, "mark": str(mark)}
    first = tuned(tmp_path, **tuning)
    assert all(run.problem_options["lr"] < 0.02 for run in first.runs if run.label == "gh (tuned)")
    before = files(tmp_path / "tuned")
    mark.touch()
    with pytest.raises(SuiteError, match=r"holds 5 finished results of 'gh \(tuned\)', whose settings follow from"):
        tuned(tmp_path, **tuning)
    kept = files(tmp_path / "tuned")
    assert all(kept[name] == data for name, data in before.items() if "trial" not in name)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "runs").iterdir()}


GROUPED = """
name = "tuned"
problem = "tests.compare.linear:Linear"
seeds = [0, 1, 2]
steps = 4
evaluate_every = 2
baseline = "sum"
[tuning]
trials = 2
seeds = [100]
learning_rate = { option = "rate", low = 0.01, high = 1.0 }
[[methods]]
label = "sum"
method = "sum"
group = "by hand"
[[methods]]
label = "mgda"
method = "mgda"
[[methods]]
label = "cagrad"
method = "cagrad"
against = "mgda"
[[methods]]
label = "half"
method = "fixed"
args = { weights = [0.5, 1.5] }
group = "by hand"
"""


def test_against_and_groups_under_tuning(tmp_path: Path) -> None:
    (tmp_path / "tuned.toml").write_text(GROUPED, encoding="utf-8")
    assert main(["compare", str(tmp_path / "tuned.toml"), "--out", str(tmp_path), "--jobs", "1"]) == 0
    results = load_results(tmp_path / "tuned")
    judged = {row.label: row.verdicts["accuracy"].baseline for row in results.rows["all"] if row.verdicts}
    # the baseline is tuned though it is a candidate too
    assert judged == {"mgda (tuned)": "sum (tuned)", "cagrad (tuned)": "mgda (tuned)", "by hand": "sum (tuned)"}
    assert any(note.startswith("Not tuned: half. Candidates of a group have no trials") for note in notes(results))


def test_what_a_row_sets_in_an_arm_is_not_searched_there(tmp_path: Path) -> None:
    suite = """
name = "tuned"
problem = "tests.compare.linear:Linear"
seeds = [0]
steps = 4
evaluate_every = 2
baseline = "sum"
arms = [{ name = "a", title = "a" }, { name = "b", title = "b" }, { name = "c", title = "c" }]
[tuning]
trials = 2
seeds = [100]
learning_rate = { option = "rate", low = 0.01, high = 1.0 }
[[methods]]
label = "sum"
method = "sum"
[[methods]]
label = "by arm"
method = "fixed"
chosen = { a = { args = { weights = [0.5, 1.5] } }, b = { args = { weights = [1.5, 0.5] } } }
"""
    (tmp_path / "tuned.toml").write_text(suite, encoding="utf-8")
    assert main(["compare", str(tmp_path / "tuned.toml"), "--out", str(tmp_path), "--jobs", "1"]) == 0
    runs = [read_run(path) for path in (tmp_path / "tuned" / "runs").glob("*.json")]
    ours = [run for run in runs if run.label.startswith("by arm")]
    assert {run.label for run in ours} == {"by arm", "by arm (trial 1)", "by arm (trial 2)", "by arm (tuned)"}
    weights = {run.arm: run.method_args["weights"] for run in ours}
    assert weights == {"a": [0.5, 1.5], "b": [1.5, 0.5]}
    assert all(run.method_args["weights"] == weights[run.arm] for run in ours)
    for arm in "ab":
        rates = {run.label: run.problem_options.get("rate") for run in ours if run.arm == arm}
        assert rates["by arm (tuned)"] in (rates["by arm (trial 1)"], rates["by arm (trial 2)"])


FROZEN = """
name = "frozen"
problem = "own.py:train"
seeds = [0, 1]
baseline = "sum"
steps = 8
controls = ["frozen", "equal time"]
metrics = { loss = "min" }
[[methods]]
label = "sum"
method = "sum"
[[methods]]
label = "slow"
method = "mgda"
"""

SLOW = """
import time
from mtlgrad.compare import FunctionRun
from tests.compare.own import train as quick

def train(method, run):
    def balancer(given, **others):
        made = FunctionRun.balancer(run, given, **others)
        backward = made.backward
        def slow(*losses):
            time.sleep(0.02 * (method.name == "MGDA") + 0.002)
            return backward(*losses)
        made.backward = slow
        return made
    run.balancer = balancer
    return quick(method, run)
"""


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(SLOW, encoding="utf-8")
    (tmp_path / "frozen.toml").write_text(FROZEN, encoding="utf-8")
    return tmp_path


def run_suite(folder: Path, *more: str) -> int:
    return main(["compare", str(folder / "frozen.toml"), "--out", str(folder), "--jobs", "1", *more])


def cells(folder: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for run in sorted(all_runs(folder), key=lambda run: run.seed):
        found.setdefault(run.label, []).append(run.seed)
    return found


def all_runs(folder: Path) -> list[Run]:
    return [read_run(path) for path in (folder / "frozen" / "runs").glob("*.json")]


def test_more_seeds_add_runs_of_the_same_settings_and_keep_what_is_there(
    slow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_suite(slow) == 0
    before = files(slow / "frozen")
    settings = {run.label: run.digest for run in all_runs(slow) if run.seed == 0}
    assert set(cells(slow)) == {"sum", "slow", "frozen slow", "slow (equal time)"}
    for _ in range(2):  # the second time, nothing is left to do
        assert run_suite(slow, "--seeds", "4") == 0
        after = files(slow / "frozen")
        assert all(after[name] == data for name, data in before.items())
        assert cells(slow) == {label: [0, 1, 2, 3] for label in settings}
        table = (slow / "frozen" / "table.md").read_text(encoding="utf-8")
        assert "Left out" not in table
        assert "| frozen slow |" in table
        assert len({str((run.label, run.method_args, run.problem_options)) for run in all_runs(slow)}) == 4
    assert run_suite(slow) == 0


def test_a_suite_run_in_part_first_has_its_late_rows_once_it_is_whole(
    slow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_suite(slow, "--seeds", "1") == 0
    before = files(slow / "frozen")
    assert cells(slow) == {"sum": [0], "slow": [0]}
    told = (slow / "frozen" / "table.md").read_text(encoding="utf-8")
    assert "Rows of the control 'frozen' are made once all of the suite's seeds have finished runs" in told
    assert "some are missing of slow." in told
    assert "Rows of the control 'equal time' are made once" in told
    for text in ("average weights, held fixed", "equal wall-clock time"):
        assert text in next(one for one in limitations(load_results(slow / "frozen")) if "no control" in one)
    assert run_suite(slow) == 0
    assert cells(slow) == {label: [0, 1] for label in ("sum", "slow", "frozen slow", "slow (equal time)")}
    after = files(slow / "frozen")
    assert all(after[name] == data for name, data in before.items())
    told = (slow / "frozen" / "table.md").read_text(encoding="utf-8")
    assert "are made once" not in told
    assert "average weights, held fixed" not in told


def test_rows_made_of_other_runs_are_not_replaced_unasked(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_suite(slow) == 0
    before = files(slow / "frozen")
    (slow / "frozen.toml").write_text(FROZEN.replace("[0, 1]", "[0, 1, 2]"), encoding="utf-8")
    capsys.readouterr()
    assert run_suite(slow) == 2
    assert "finished results of 'frozen slow'" in capsys.readouterr().err
    after = files(slow / "frozen")
    assert all(after[name] == data for name, data in before.items())
    assert cells(slow)["slow"] == [0, 1, 2]
    assert run_suite(slow, "--overwrite") == 0
    assert cells(slow)["frozen slow"] == [0, 1, 2]


def test_a_function_that_does_not_read_its_steps_has_no_row_at_equal_time(tmp_path: Path) -> None:
    def stubborn(method: Method, run: FunctionRun) -> dict[str, float]:
        import time

        w = torch.nn.Parameter(torch.zeros(2))
        balancer = run.balancer(method, shared=[w])
        for _ in range(6):
            w.grad = None
            balancer.backward({"a": (w - 1).square().sum(), "b": (w + torch.ones(2)).square().sum()})
            time.sleep(0.002 + 0.02 * (method.name == "MGDA"))
        return {"loss": 1.0 + run.seed}

    results = compare(stubborn, methods=["sum", "mgda"], metrics={"loss": "min"}, seeds=2, out=tmp_path,
                      options={"steps": 6}, controls=["equal time"], jobs=1, quiet=True)  # fmt: skip
    assert {run.label for run in results.runs} == {"sum", "mgda"}
    assert any("the problem never read its option 'steps'" in note for note in notes(results))
    assert any("who leads at equal wall-clock time" in text for text in limitations(results))


def test_a_learning_rate_that_is_never_read_is_told(tmp_path: Path) -> None:
    def deaf(method: Method, run: FunctionRun) -> dict[str, float]:
        run.validation(1.0)
        return {"loss": 1.0 + run.seed}

    tuning = {"trials": 2, "seeds": [100], "learning_rate": RATE}
    results = compare(deaf, methods=["sum", "gh"], metrics={"loss": "min"}, seeds=2, out=tmp_path, tuning=tuning,
                      jobs=1, quiet=True)  # fmt: skip
    assert "The learning rate was not tuned: the problem never read its option 'lr', which had no effect." in notes(
        results
    )
