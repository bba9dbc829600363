"""A folder of runs, read back: which of them belong to the suite as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtlgrad.compare.job import Job
from mtlgrad.compare.results import belongs, load_results, of_other_settings, save_suite
from mtlgrad.compare.schema import Identity, Run, write_run
from mtlgrad.compare.suite import Suite, SuiteError
from mtlgrad.compare.table import notes
from tests.compare.runs import run


def write(folder: Path, *runs: Run) -> None:
    for one in runs:
        identity = Identity(**{name: getattr(one, name) for name in Identity.model_fields})
        write_run(one, Job(identity, folder).result)


@pytest.mark.parametrize(
    "changed",
    [
        {"steps": 13},
        {"evaluate_every": 4},
        {"problem": "toy"},
        {"problem_options": {"rate": 0.1}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_run_of_other_settings_does_not_belong(suite: Suite, changed: dict[str, Any]) -> None:
    one = run(suite, "GH++ rotation", 0, 60.0)
    assert belongs(one, suite)
    assert not belongs(one, suite.model_copy(update=changed))


def test_what_a_suite_says_of_itself_and_which_seeds_it_asks_for_are_no_settings(suite: Suite) -> None:
    one = run(suite, "GH++ rotation", 11, 60.0)
    said = {"title": "t", "description": "d", "seeds": [0], "baseline": "slow", "columns": ["loss"]}
    assert belongs(one, suite.model_copy(update=said))


def test_a_row_or_arm_that_is_gone_has_no_runs(suite: Suite) -> None:
    one = run(suite, "GH++ rotation", 0, 60.0)
    assert not belongs(one, suite.model_copy(update={"methods": suite.methods[:2]}))
    assert not belongs(one, suite.model_copy(update={"arms": suite.arms[1:]}))


def test_arguments_of_the_method_are_settings(suite: Suite) -> None:
    one = run(suite, "fixed 0.5 / 1.5", 0, 60.0)
    assert not belongs(one.model_copy(update={"method_args": {"weights": [0.5, 1.6]}}), suite)


def test_what_does_not_belong_is_counted_and_told(suite: Suite, tmp_path: Path) -> None:
    longer = suite.restricted(steps=13)
    write(tmp_path, run(suite, "sum", 0, 60.0), run(longer, "sum", 1, 61.0), run(longer, "slow", 0, 50.0))
    (tmp_path / "runs" / "plain--sum--seed2.json").write_text("{", encoding="utf-8")
    found = load_results(tmp_path, suite)
    assert [one.seed for one in found.runs] == [0]
    assert found.ignored == 3
    assert "Left out: 3 result files" in " ".join(notes(found))
    assert of_other_settings(tmp_path, suite) == 2, "one that cannot be read is no finished result"
    assert of_other_settings(tmp_path, longer) == 1


def test_rows_taken_out_are_no_other_settings_and_another_suite_is(suite: Suite, tmp_path: Path) -> None:
    write(tmp_path, run(suite, "sum", 0, 60.0), run(suite, "slow", 0, 50.0), run(suite, "slow", 1, 50.0))
    smaller = suite.model_copy(update={"methods": suite.methods[1:]})
    assert of_other_settings(tmp_path, smaller) == 0
    arm = suite.arms[0].model_copy(update={"name": "other"})
    assert of_other_settings(tmp_path, suite.model_copy(update={"arms": [arm]})) == 3


def test_a_folder_without_results_is_refused(suite: Suite, tmp_path: Path) -> None:
    save_suite(suite, tmp_path)
    with pytest.raises(SuiteError, match="holds no results of suite 'small'"):
        load_results(tmp_path)


def test_a_folder_from_when_labels_could_hold_commas_is_reported(suite: Suite, tmp_path: Path) -> None:
    older = suite.methods[2].model_copy(update={"label": "GH++, rotation"})
    suite = suite.model_copy(update={"methods": [*suite.methods[:2], older, suite.methods[3]]})
    save_suite(suite, tmp_path)
    write(tmp_path, run(suite, "GH++, rotation", 0, 60.0))
    assert [row.label for row in load_results(tmp_path).rows["plain"]] == ["GH++, rotation"]


def test_a_label_written_anew_keeps_its_runs(suite: Suite, tmp_path: Path) -> None:
    write(tmp_path, run(suite, "GH++ rotation", 0, 60.0))
    renamed = suite.methods[2].model_copy(update={"label": "GH++ (rotation)"})
    suite = suite.model_copy(update={"methods": [*suite.methods[:2], renamed, suite.methods[3]]})
    found = load_results(tmp_path, suite)
    assert ([row.label for row in found.rows["plain"]], found.ignored) == (["GH++ (rotation)"], 0)
