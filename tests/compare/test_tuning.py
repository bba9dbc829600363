"""Equal tuning and controls: what is drawn, what is chosen, what follows from results, and that it all resumes."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from torch import nn

import mtlgrad
from benchmarks.__main__ import main
from mtlgrad.compare.controls import CONTROLS, SumOfGradients, equal_time, frozen
from mtlgrad.compare.results import load_results
from mtlgrad.compare.schema import Run, read_run
from mtlgrad.compare.sensitivity import Tuned
from mtlgrad.compare.suite import Suite, SuiteError, load
from mtlgrad.compare.tuning import LearningRate, Tuning, best_of, trials_of

SUITE = """
name = "tuned"
title = "Tuned"
description = "One arm."
problem = "tests.compare.linear:Linear"
seeds = [0, 1]
steps = 8
evaluate_every = 8
baseline = "sum"
controls = ["tuned weights", "single task", "frozen", "noise floor", "equal time"]

[tuning]
trials = 2
seeds = [100, 101]
learning_rate = { option = "rate", low = 0.01, high = 1.0 }

[[arms]]
name = "plain"
title = "plain"

[[methods]]
label = "sum"
method = "sum"

[[methods]]
label = "CAGrad"
method = "cagrad"
args = { rescale = "none" }
"""

TUNING = Tuning(trials=16, seeds=[100], learning_rate=LearningRate(option="lr", low=1e-3, high=1e-1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison, tuned and with controls."""
    place = tmp_path_factory.mktemp("tuned")
    (place / "tuned.toml").write_text(SUITE, encoding="utf-8")
    assert main(["compare", str(place / "tuned.toml"), "--out", str(place), "--jobs", "1"]) == 0
    return place / "tuned"


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for path in sorted((folder / "runs").glob("*.json")):
        run = read_run(path)
        found.setdefault(run.label, []).append(run)
    return {label: sorted(some, key=lambda run: run.seed) for label, some in found.items()}


def seeds(some: list[Run]) -> list[int]:
    return [run.seed for run in some]


def test_every_row_has_the_same_budget_on_seeds_of_its_own(runs: dict[str, list[Run]]) -> None:
    trials = {label: some for label, some in runs.items() if "(trial" in label}
    rows = {label.split(" (trial")[0] for label in trials}
    assert rows == {"sum", "CAGrad", "tuned weights", "only a", "only b"}
    assert len(trials) == 2 * len(rows)
    assert all(seeds(some) == [100, 101] for some in trials.values())
    assert all(seeds(some) == [0, 1] for label, some in runs.items() if label not in trials)


@pytest.mark.parametrize("base", ["sum", "CAGrad", "tuned weights"])
def test_what_was_chosen_is_what_validated_best(runs: dict[str, list[Run]], base: str) -> None:
    trials = [runs[f"{base} (trial {k})"] for k in (1, 2)]
    means = [np.mean([run.metrics.final_validation for run in some if run.metrics]) for some in trials]
    best = trials[int(np.argmax(means))][0]
    chosen = runs[base if base == "tuned weights" else f"{base} (tuned)"][0]
    assert (chosen.problem_options, chosen.method_args) == (best.problem_options, best.method_args)


def test_tuned_and_default_settings_are_told_apart(folder: Path, runs: dict[str, list[Run]]) -> None:
    assert runs["CAGrad"][0].problem_options == {"steps": 8}
    results = load_results(folder)
    assert results.suite.baseline == "sum (tuned)"
    judged = {row.label for row in results.rows["plain"] if row.verdicts}
    assert {"CAGrad (tuned)", "tuned weights", "noise floor", "frozen CAGrad (tuned)"} <= judged
    assert not judged & {"CAGrad", "sum", "sum (tuned)", "only a", "only b"}
    text = (folder / "table.md").read_text(encoding="utf-8")
    assert "## Tuning" in text
    assert "| CAGrad (tuned) | plain | 2 | 2 | rate = " in text
    assert "(trial 1)" not in text


def test_a_frozen_twin_has_the_average_weights_and_is_judged_against_its_method(
    folder: Path, runs: dict[str, list[Run]]
) -> None:
    weights = [phase.weights_mean for run in runs["CAGrad (tuned)"] for phase in run.phases.values()]
    twin = runs["frozen CAGrad (tuned)"][0]
    assert twin.method == "fixed"
    assert twin.method_args["weights"] == pytest.approx(np.mean(np.array(weights, dtype=float), axis=0), rel=1e-5)
    assert twin.problem_options["rate"] == runs["CAGrad (tuned)"][0].problem_options["rate"]
    row = next(row for row in load_results(folder).rows["plain"] if row.label == twin.label)
    assert row.verdicts["accuracy"].baseline == "CAGrad (tuned)"


def test_constant_weights_are_their_own_twin(tmp_path: Path) -> None:
    declared = SUITE[: SUITE.index("controls")] + 'controls = ["frozen"]' + SUITE[SUITE.index("\n\n[[arms]]") :]
    row = '\n[[methods]]\nlabel = "half"\nmethod = "fixed"\nchosen = { plain = { args = { weights = [0.5, 1.5] } } }\n'
    (tmp_path / "twins.toml").write_text(declared + row, encoding="utf-8")
    assert main(["compare", str(tmp_path / "twins.toml"), "--out", str(tmp_path), "--jobs", "1"]) == 0
    labels = {read_run(path).label for path in (tmp_path / "tuned" / "runs").glob("*.json")}
    assert labels == {"sum", "CAGrad", "half", "frozen CAGrad"}


def test_the_noise_floor_is_the_baseline_in_everything_but_its_rounding(runs: dict[str, list[Run]]) -> None:
    for floor, base in zip(runs["noise floor"], runs["sum (tuned)"], strict=True):
        assert floor.problem_options == base.problem_options
        assert floor.method == "mtlgrad.compare.controls:SumOfGradients"
    torch.manual_seed(0)
    gradients = []
    for method in (SumOfGradients(), mtlgrad.Sum()):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 3))
        y = net(torch.randn(20, 5)).square().mean(0)
        mtlgrad.Balancer(method, net.parameters()).backward({str(k): y[k] for k in range(3)})
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients)


def test_equal_time_gives_a_slower_method_fewer_steps(runs: dict[str, list[Run]]) -> None:
    row = runs.get("CAGrad (tuned) (equal time)")
    base, slower = runs["sum (tuned)"], runs["CAGrad (tuned)"]

    def pace(some: list[Run]) -> float:
        return median(run.step_ms.median for run in some if run.step_ms)

    expected = equal_time(slower, base)
    assert (row is None) == (expected is None)
    if row is not None:
        assert row[0].problem_options["steps"] == max(1, round(8 * pace(base) / pace(slower)))
    twice = [
        run.model_copy(update={"step_ms": run.step_ms.model_copy(update={"median": 50.0})})
        for run in base
        if run.step_ms
    ]
    four = [
        run.model_copy(update={"step_ms": run.step_ms.model_copy(update={"median": 200.0})})
        for run in base
        if run.step_ms
    ]
    made = equal_time(four, twice)
    assert made is not None
    assert made.options == {"steps": 2}
    assert equal_time(twice, four) is None


def test_methods_without_weights_have_no_twin(runs: dict[str, list[Run]]) -> None:
    bare = [run.model_copy(update={"phases": {}}) for run in runs["sum"]]
    assert frozen(bare) is None


def test_single_task_runs_train_one_task_each(folder: Path, runs: dict[str, list[Run]]) -> None:
    assert runs["only a"][0].method_args["weights"] == [1.0, 0.0]
    assert runs["only b"][0].method_args["weights"] == [0.0, 1.0]
    roles = {row.label: row.role for row in load_results(folder).rows["plain"]}
    assert roles["only a"] == roles["only b"] == "reference"


def test_the_same_command_again_makes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in (folder / "runs").iterdir()}
    assert main(["compare", str(folder.parent / "tuned.toml"), "--out", str(folder.parent), "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert f"{len(before)} runs, {len(before)} there already" in out
    assert {path.name: path.read_bytes() for path in (folder / "runs").iterdir()} == before
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["tuning"]


@pytest.mark.parametrize("name", ["sum", "cagrad", "gh", "stch", "fixed"])
def test_trials_cover_the_declared_space_and_no_more(name: str) -> None:
    trials = trials_of(TUNING, name, {}, m=3)
    rates = [one.options["lr"] for one in trials]
    assert len(trials) == 16
    assert all(1e-3 <= rate <= 1e-1 for rate in rates)
    # low discrepancy: each of the four quarters of the decades has its share
    counts = np.histogram(np.log10(rates), bins=4, range=(-3, -1))[0]
    assert counts.min() >= 2
    assert rates == [one.options["lr"] for one in trials_of(TUNING, "sum", {}, m=3)], "all rows see the same rates"
    assert trials == trials_of(TUNING, name, {}, m=3)


def test_weights_are_searched_scale_free() -> None:
    for one in trials_of(TUNING, "fixed", {}, m=3):
        assert sum(one.args["weights"]) == pytest.approx(3.0, rel=1e-5)
        assert min(one.args["weights"]) > 0


def test_what_a_row_sets_itself_is_not_searched() -> None:
    assert len({one.args["c"] for one in trials_of(TUNING, "cagrad", {}, m=2)}) == 16
    assert {one.args["c"] for one in trials_of(TUNING, "cagrad", {"c": 0.3}, m=2)} == {0.3}


def test_the_method_inside_a_wrapper_is_searched() -> None:
    args = {"inner": {"method": "cagrad", "rescale": "none"}}
    found = trials_of(TUNING, "ema", args, m=2)
    assert all(one.args["inner"]["method"] == "cagrad" for one in found)
    assert len({one.args["inner"]["c"] for one in found}) > 1


def test_a_trial_that_did_not_end_well_is_never_chosen() -> None:
    assert best_of([3.0, None, 5.0]) == 2
    assert best_of([None, None]) is None


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seeds = [100, 101]", "seeds = [1, 100]", r"none of the suite's seeds.*\[1\]"),
        ("low = 0.01, high = 1.0", "low = 1.0, high = 0.1", "low must be below high"),
        ("trials = 2", "trials = 1", "tuning.trials"),
        ('"frozen"', '"frosen"', "controls.*'noise floor'"),
        (SUITE[SUITE.index("[tuning]") : SUITE.index("[[arms]]")], "", "'tuned weights' needs"),
    ],
)
def test_wrong_tuning_is_told(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in SUITE
    (tmp_path / "tuned.toml").write_text(SUITE.replace(old, new), encoding="utf-8")
    with pytest.raises(SuiteError, match=told):
        load(tmp_path / "tuned.toml")


def test_every_control_can_be_asked_for_by_its_word() -> None:
    plain = {"name": "x", "title": "", "description": "", "problem": "toy", "seeds": [0], "evaluate_every": 1}
    rows = {"baseline": "sum", "arms": [{"name": "a", "title": "a"}], "methods": [{"label": "sum", "method": "sum"}]}
    tuning = {"trials": 2, "seeds": [9], "learning_rate": {"option": "lr", "low": 0.1, "high": 1.0}}
    suite = Suite.model_validate({**plain, **rows, "tuning": tuning, "controls": list(CONTROLS)})
    assert len(suite.controls) == 6


def test_the_table_of_tuning_has_four_digits_of_every_score_however_far_apart_they_are() -> None:
    cells = Tuned("sum", "all", [-0.0421, None, -0.35, -51234.0], {"diverged": 1, "failed": 0}, "lr = 0.1", "").cells()
    assert cells[2:4] == ["4", "3 (1 diverged)"]
    assert [cell.replace("\N{MINUS SIGN}", "-") for cell in cells[5:]] == ["-0.04210", "-0.3500", "-51234"]
    assert Tuned("sum", "all", [None], {"failed": 1}, "", "no trial ended well").cells()[5:] == ["\N{EN DASH}"] * 3
