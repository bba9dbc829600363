"""What the parts of a suite say of each other is checked before anything runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mtlgrad.compare import compare
from mtlgrad.compare.command import main
from mtlgrad.compare.consistency import check_made_labels, made_labels
from mtlgrad.compare.suite import Suite, SuiteError

TUNING = {"trials": 2, "seeds": [100], "learning_rate": {"option": "rate", "low": 0.01, "high": 1.0}}
LONG = "m" * 52


def suite_of(*rows: Any, **keys: Any) -> Suite:
    methods = [row if isinstance(row, dict) else {"label": row, "method": row} for row in rows]
    plain = {"name": "s", "problem": "tests.compare.linear:Linear", "seeds": [0, 1], "baseline": "sum"}
    return Suite.model_validate({**plain, "methods": methods, **keys})


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"against": "smu"}, r"methods\[1\].against='smu' is not a label \(did you mean 'sum'\?\); allowed: sum, GH, "),
        ({"against": "GH"}, r"methods\[1\].against='GH' is the row itself"),
        ({"against": "alone"}, r"methods\[1\].against='alone' is a reference"),
        ({"against": "frozen sum"}, r"methods\[1\].against='frozen sum' is not a label"),
        ({"group": "sum"}, r"methods\[1\].group='sum' is the label of a row"),
        ({"group": "gh"}, r"methods\[1\].group='gh' is the label of a row"),
        ({"chosen": {"al": {}}}, r"methods\[1\].chosen: 'al' is no arm \(did you mean 'all'\?\); allowed: all"),
        ({"seeds": [0, 100]}, r"tuning.seeds must be none of the suite's seeds.*\[100\]"),
    ],
)
def test_a_row_that_does_not_fit_the_others_is_named(row: dict[str, Any], told: str) -> None:
    alone = {"label": "alone", "method": "sum", "role": "reference"}
    with pytest.raises(ValidationError, match=told):
        suite_of("sum", {"label": "GH", "method": "gh", **row}, alone, tuning=TUNING)


def test_the_baseline_is_looked_for_with_a_hint() -> None:
    with pytest.raises(ValidationError, match=r"baseline='smu' is not a label \(did you mean 'sum'\?\)"):
        suite_of("sum", "gh", baseline="smu")


@pytest.mark.parametrize("against", ["mgda", "fixed weights", "random weights", "frozen mgda", "mgda (equal time)"])
def test_a_row_may_be_judged_against_whatever_there_will_be(against: str) -> None:
    half = {"label": "half", "method": "sum", "group": "fixed weights"}
    controls = ["random weights", "frozen", "equal time"]
    suite = suite_of("sum", "mgda", half, {"label": "GH", "method": "gh", "against": against}, controls=controls)
    check_made_labels(suite)
    kept = suite.restricted(methods=["GH"])
    wanted = {"fixed weights": "half", "random weights": None}.get(against, "mgda")
    assert kept.labels == [label for label in suite.labels if label in ("sum", "GH", wanted)]


def test_the_labels_of_rows_to_be_made_are_known() -> None:
    suite = suite_of("sum", "gh", controls=["random weights", "frozen", "equal time", "noise floor", "tuned weights"],
                     tuning=TUNING)  # fmt: skip
    assert sorted(made_labels(suite)) == sorted(
        [
            *("random weights", "tuned weights", "noise floor", "random weights (tuned)", "sum (tuned)", "gh (tuned)"),
            *(f"{one} (trial {k})" for one in ("sum", "gh", "random weights", "tuned weights") for k in (1, 2)),
            *("frozen gh (tuned)", "gh (tuned) (equal time)"),
        ]
    )
    assert made_labels(suite_of("sum", "gh", controls=["frozen"])) == ["frozen gh"]
    assert made_labels(suite_of("sum", "gh")) == []


@pytest.mark.parametrize(
    ("labels", "keys", "told"),
    [
        (["Random weights"], {"controls": ["random weights"]}, "'random weights' is that of a row which tuning or"),
        (["mgda", "frozen mgda"], {"controls": ["frozen"]}, "'frozen mgda' is that of a row which tuning or controls"),
        (["mgda", "mgda (equal time)"], {"controls": ["equal time"]}, r"'mgda \(equal time\)' is that of a row"),
        (["gh (tuned)", "gh"], {"tuning": TUNING}, r"'gh \(tuned\)' is that of a row"),
        (["gh", "gh (trial 2)"], {"tuning": TUNING}, r"'gh \(trial 2\)' is that of a row"),
        ([f"{LONG} a", f"{LONG} b"], {"controls": ["frozen"]}, "two of the rows .* 'frozen m+ .*60th letter"),
        (["only heads"], {"controls": ["single task"]}, "label 'only heads' must not begin with 'only'"),
    ],
)
def test_a_label_that_another_row_will_have_is_told_before_anything_runs(
    tmp_path: Path, labels: list[str], keys: dict[str, Any], told: str
) -> None:
    def never(method: Any, run: Any) -> dict[str, float]:
        raise AssertionError("nothing may run")

    with pytest.raises(SuiteError, match=told) as caught:
        compare(never, methods={"sum": "sum", **dict.fromkeys(labels, "mgda")}, seeds=1, out=tmp_path, jobs=1,
                quiet=True, **keys)  # fmt: skip
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.json"))


def test_a_group_with_the_name_of_a_control_is_told(tmp_path: Path) -> None:
    half = {"label": "half", "method": "sum", "group": "random weights"}
    with pytest.raises(ValueError, match="'random weights' is that of a row which tuning or controls will make"):
        check_made_labels(suite_of("sum", half, controls=["random weights"]))


SUITE = """
name = "s"
problem = "tests.compare.linear:Linear"
seeds = [0, 1]
steps = 4
baseline = "sum"
controls = ["frozen"]
tuning = { trials = 2, seeds = [3], learning_rate = { option = "rate", low = 0.01, high = 1.0 } }

[[methods]]
label = "sum"
method = "sum"

[[methods]]
label = "GH"
method = "gh"
"""


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        (SUITE, ("--seeds", "5"), r"tuning.seeds must be none of the suite's seeds.*: \[3\]"),
        (SUITE.replace('"gh"', '"ghx"'), (), r"'GH' in arm 'all': unknown method 'ghx'"),
        (SUITE.replace("tuning =", "title = 'x' # "), ("--methods", "GX"), "unknown method 'GX' in suite 's'"),
        (SUITE.replace("tuning =", "# ").replace('"gh"', '"ghx"'), (), r"'GH' in arm 'all': unknown method 'ghx'"),
        (SUITE.replace("tests.compare.linear:Linear", "nowhere:train"), (), "cannot be imported"),
        (SUITE.replace('"gh"', '"nowhere:Method"'), (), "cannot be imported"),
    ],
)
def test_what_cannot_be_made_is_one_line_of_the_command(
    tmp_path: Path, text: str, more: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text(text, encoding="utf-8")
    assert main(["compare", str(tmp_path / "s.toml"), "--out", str(tmp_path / "out"), "--jobs", "1", *more]) == 2
    message = capsys.readouterr().err
    assert re.search(told, message), message
    assert message.startswith("error: ")
    assert message.count("\n") == 1
