"""Suites: those that ship can be run as they stand, and mistakes are named."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.__main__ import SUITES
from mtlgrad import GH
from mtlgrad.compare import Outline
from mtlgrad.compare.command.compare import parse_labels, parse_seeds
from mtlgrad.compare.comparison import check
from mtlgrad.compare.job import jobs_of
from mtlgrad.compare.labels import slug
from mtlgrad.compare.loop import train
from mtlgrad.compare.suite import Arm, MethodRow, Suite, SuiteError, find, load, names
from tasks.registry import PROBLEMS
from tests.compare.conftest import SUITE
from tests.compare.linear import Linear


@pytest.mark.parametrize("name", names(SUITES))
def test_every_shipped_suite_can_be_run(name: str, tmp_path: Path) -> None:
    suite = load(find(name, SUITES))
    assert suite.name == name
    jobs = jobs_of(suite, tmp_path, known=PROBLEMS)
    check(jobs)
    assert len({job.result for job in jobs}) == len(jobs)


def test_the_digits_are_compared_with_tuned_weights_and_with_no_adaptation() -> None:
    suite = load(find("digits", SUITES))
    tuned = [row for row in suite.methods if row.group == "tuned weights"]
    assert len(tuned) == 5
    assert {row.method for row in tuned} == {"sum", "fixed"}
    assert any(row.role == "reference" and row.problem_options == {"method": "source_only"} for row in suite.methods)
    assert len(suite.seeds) >= 5
    assert len(suite.arms) == 2


def test_the_documented_suite_is_one_and_shows_every_key(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "suites.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```toml\n(.*?)^```", text, re.M | re.S)
    path = tmp_path / "mine.toml"
    path.write_text(shown, encoding="utf-8")
    suite = load(path)
    check(jobs_of(suite, tmp_path, known=PROBLEMS))
    assert suite.model_fields_set == set(Suite.model_fields)
    assert set().union(*(row.model_fields_set for row in suite.methods)) == set(MethodRow.model_fields)
    assert suite.arms[0].model_fields_set == set(Arm.model_fields)


@pytest.mark.parametrize("name", names(SUITES))
def test_a_plain_sum_is_among_the_candidates_that_it_is_compared_with(name: str) -> None:
    suite = load(find(name, SUITES))
    groups = {row.group for row in suite.methods} - {None}
    (baseline,) = (row for row in suite.methods if row.label == suite.baseline)
    assert groups == ({baseline.group} if groups else set())


@pytest.mark.parametrize("name", names(SUITES))
def test_every_label_can_be_chosen(name: str) -> None:
    suite = load(find(name, SUITES))
    for row in suite.methods:
        compared = (row.label, suite.baseline, row.against)
        assert suite.restricted(methods=parse_labels(row.label)).labels == [
            label for label in suite.labels if label in compared
        ]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seeds = [0, 1, 2]", 'seeds = "all"', r"small.toml: seeds: .*list.*got 'all'"),
        ("seeds = [0, 1, 2]", "seeds = [0, -1]", r"seeds\[1\]: .*greater than or equal to 0, got -1"),
        ("seeds = [0, 1, 2]", "seeds = [0, 0]", r"seeds holds '0' twice"),
        ("seeds = [0, 1, 2]", f"seeds = [{2**63}]", r"seeds\[0\]: .*less than"),
        ("steps = 12", "stepz = 12", r"stepz: unknown key, got 12"),
        ("steps = 12", "steps = 0", r"steps: .*greater than or equal to 1, got 0"),
        ('baseline = "sum"', 'baseline = "mean"', r"baseline='mean' is not a label; allowed: slow, sum"),
        ('baseline = "sum"\n', "", r"baseline: Field required"),
        ('role = "reference"', 'role = "line"', r"methods\[0\].role: .*'method', 'reference', .*, got 'line'"),
        ('label = "GH++ rotation"', 'label = "SUM"', r"methods.label holds 'sum' twice"),
        ('"GH++ rotation"', '"GH++, rotation"', r"methods\[2\].label: .*no comma.*--methods.*got 'GH\+\+, rotation'"),
        ('group = "tuned weights"', 'group = "tuned, weights"', r"methods\[1\].group: .*no comma"),
        ('name = "biased"', 'name = "../up"', r"arms\[1\].name: .*pattern"),
        ("rate = 0.001", "steps = 3", r"problem option 'steps' is set by the suite"),
        ("evaluate_every = 3", "evaluate_every =", r"small.toml: not valid TOML"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in SUITE
    path = tmp_path / "small.toml"
    path.write_text(SUITE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SuiteError, match=told) as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('method = "ghpp"', 'method = "ghppp"', "'GH\\+\\+ rotation' in arm 'plain': unknown method 'ghppp'.*known: "),
        ('form = "rotation"', 'form = "spin"', "form must be one of 'published', 'rotation', got 'spin'"),
        ('form = "rotation"', "angle = 1", "unknown argument 'angle'; allowed: lam, form"),
        (
            "rate = 0.001",
            "rat = 0.001",
            "problem 'tests.compare.linear:Linear' has no option 'rat' \\(did you mean 'rate'\\?\\); known: rate, ",
        ),
        ('problem = "tests.compare.linear:Linear"', 'problem = "quadratic"', "unknown problem 'quadratic'; known: "),
    ],
)
def test_what_cannot_be_made_is_found_before_anything_runs(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SUITE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SuiteError, match=told):
        check(jobs_of(load(path), tmp_path, known=PROBLEMS))


def test_a_file_that_begins_with_a_mark_is_read(tmp_path: Path, suite: Suite) -> None:
    path = tmp_path / "marked.toml"
    path.write_text(SUITE, encoding="utf-8-sig")
    assert load(path) == suite


@given(st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=2, unique_by=lambda t: plain_letters(t)))
def test_labels_that_differ_in_a_letter_have_files_of_their_own(labels: list[str]) -> None:
    assert slug(labels[0]) != slug(labels[1])
    assert re.fullmatch(r"[a-z0-9.-]+", slug(labels[0]))


def plain_letters(label: str) -> str:
    """What has to differ: letters and digits of any script, case and marks between them aside."""
    return "".join(one if one.isalnum() else " " for one in unicodedata.normalize("NFKC", label).casefold()).strip()


def test_a_method_that_cannot_decide_a_phase_is_told_before_anything_runs(tmp_path: Path) -> None:
    def told(problem: str, method: str) -> str:
        text = SUITE.replace('method = "ghpp"\nargs = { form = "rotation" }', f'method = "{method}"')
        text = text.replace("linear:Linear", f"linear:{problem}")
        (tmp_path / "small.toml").write_text(text, encoding="utf-8")
        with pytest.raises(SuiteError) as caught:
            check(jobs_of(load(tmp_path / "small.toml"), tmp_path))
        return str(caught.value)

    assert re.search(r"GH\+\+ rotation.*phase 'pair' of problem 'linear' has 3 losses: .*2", told("Three", "ghpp"))
    assert re.search(r"phase 'pair' .*groups='tensor'.*Sum decides from losses alone", told("Grouped", "ghpp"))


def test_what_a_problem_says_of_its_phases_is_held_to() -> None:
    class Lying(Linear):
        @property
        def outlines(self) -> dict[str, Outline]:
            return {"pair": Outline(3)}

    with pytest.raises(ValueError, match="phase 'pair' has 2 losses and groups=None; the problem's outlines say 3"):
        train(Lying(steps=1), GH(), seed=0, evaluate_every=1)


def test_options_of_a_cell_come_from_suite_then_arm_then_row(suite: Suite) -> None:
    assert suite.options_of(suite.arms[1], suite.methods[0]) == {"target_bias": 1.0, "rate": 0.001, "steps": 12}
    assert suite.options_of(suite.arms[0], suite.methods[1]) == {"steps": 12}


def test_a_restricted_suite_keeps_its_baseline(suite: Suite) -> None:
    smaller = suite.restricted(methods=["gh++ rotation"], seeds=[7], steps=3)
    assert smaller.labels == ["sum", "GH++ rotation"]
    assert (smaller.seeds, smaller.steps) == ([7], 3)
    told = r"unknown method 'gh' in suite 'small' \(did you mean 'GH\+\+ rotation'\?\); known: slow, sum, "
    with pytest.raises(SuiteError, match=told):
        suite.restricted(methods=["gh"])
    with pytest.raises(SuiteError, match=r"did you mean 'GH\+\+ rotation'"):
        suite.restricted(methods=["GH++ rotatoin"])


def test_a_count_of_none_is_told_from_seed_0() -> None:
    with pytest.raises(SuiteError, match="--seeds 0 is a count of none; for seed 0 alone write --seeds 0,"):
        parse_seeds("0")


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "0,x", "99999999999", "0," + "9" * 5000, f"0,{2**63}"])
def test_seeds_that_are_none(text: str) -> None:
    with pytest.raises(SuiteError, match="--seeds must be a count from 1 to 10000 or a list .*; got .{2,42}$"):
        parse_seeds(text)


def test_a_suite_from_before_problems_were_called_so_is_read(tmp_path: Path) -> None:
    old = SUITE.replace("problem = ", "task = ").replace("problem_options", "task_options")
    assert old != SUITE
    for name, text in (("old", old), ("new", SUITE)):
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    assert load(tmp_path / "old.toml") == load(tmp_path / "new.toml")


@pytest.mark.parametrize(
    "path", sorted((SUITES.parent / "results").glob("*/summary.json")), ids=lambda p: p.parent.name
)
def test_the_suites_of_committed_results_stay_readable(path: Path) -> None:
    Suite.model_validate_json(json.dumps(json.loads(path.read_text(encoding="utf-8"))["suite"]))
