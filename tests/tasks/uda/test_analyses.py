"""The figures: what each says of stored runs, that all are drawn by one command, and what a run leaves for them."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from benchmarks.__main__ import main
from mtlgrad.compare.job import Job
from mtlgrad.compare.results import save_suite
from mtlgrad.compare.run import execute
from mtlgrad.compare.schema import Run
from mtlgrad.compare.suite import MethodRow, Suite
from tasks.uda.analyses.table import ANALYSES

ROWS = [
    ("sum", "sum", {}),
    ("GH", "gh", {}),
    ("negated g2", "negated", {"task": 1}),
    ("GH++", "ghpp", {}),
    ("GH++ 0.25", "ghpp", {"form": "published", "lam": 0.25}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few runs of a few steps, as a comparison leaves them."""
    where = tmp_path_factory.mktemp("results")
    rows = [
        MethodRow(label=label, method=method, args=args, seeds=[0, 1] if label in ("sum", "GH") else [0])
        for label, method, args in ROWS
    ]
    suite = Suite.model_validate(
        {
            "name": "s", "arms": [{"name": "a", "title": "A"}], "methods": rows, "seeds": [0], "baseline": "sum",
            "problem": "tasks.uda.task:UDA", "problem_options": {"method": "dann", "batch_size": 16}, "steps": 4,
            "evaluate_every": 2,
        }
    )  # fmt: skip
    save_suite(suite, where)
    for identity in suite.identities():
        run = execute(Job(identity, where))
        assert run.status == "ok", run.reason
    return where


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[Run]:
    return [Run.model_validate_json(path.read_text()) for path in sorted((folder / "runs").glob("*.json"))]


def test_one_command_draws_every_figure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", str(folder)]) == 0
    written = [Path(line) for line in capsys.readouterr().out.split()]
    assert [path.stem for path in written] == [f"a-{name}" for name in ANALYSES]
    for path in written:
        pixels = image.imread(path)
        assert pixels.std() > 0.02, f"{path.stem} is blank"
        assert path.with_suffix(".svg").read_text().count("<path") > 5
        data = json.loads(path.with_suffix(".json").read_text())
        assert (data["arm"], data["title"]) == ("a", ANALYSES[path.stem[2:]].title)
        assert data["systems"] == dict.fromkeys([label for label, *_ in ROWS], "DANN")


def test_one_figure_can_be_asked_for_with_methods_in_the_order_of_the_suite(folder: Path, tmp_path: Path) -> None:
    assert main(["analyse", str(folder), "--only", "time", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a-time.png", "a-time.svg", "a-time.json"}
    assert list(json.loads((tmp_path / "a-time.json").read_text())["methods"]) == [label for label, *_ in ROWS]


def test_what_cannot_be_drawn_is_told(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", str(tmp_path)]) == 2
    assert f"{tmp_path} holds no suite.json" in capsys.readouterr().err
    assert main(["analyse", str(folder), "--only", "time,speed", "--out", str(tmp_path)]) == 2
    assert "--only must be a list of figures, got 'speed'; known: gradients, opposed" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["analyse", str(folder), "--out", str(tmp_path / "file")]) == 2
    assert f"{tmp_path / 'file'}: cannot be written" in capsys.readouterr().err


def test_histograms_count_every_measured_decision(runs: list[Run]) -> None:
    shown = ANALYSES["gradients"].data(runs)
    assert shown is not None
    for label, own in (("sum", 2), ("GH", 2), ("GH++", 1)):
        of_label = [run for run in runs if run.label == label]
        assert len(of_label) == own
        cosines = [value for run in of_label for phase in run.phases.values() for value in phase.cosine_before]
        kind = shown["methods"][label]["cosine_before"]
        assert sum(kind["counts"]) == kind["measured"] == len(cosines)
        assert kind["mean"] == pytest.approx(np.mean(cosines))
        assert kind["below_zero"] == pytest.approx(np.mean(np.array(cosines) < 0))
    assert "inner_after" in shown["methods"]["GH"]
    assert "inner_after" not in shown["methods"]["negated g2"] or shown["methods"]["negated g2"]["inner_after"]


def test_no_bar_holds_values_of_both_signs(runs: list[Run]) -> None:
    [(name, phase)] = runs[0].phases.items()
    cosines = [-0.02, -0.01, -1e-9, 0.0, 0.01]
    small = phase.model_copy(update={"cosine_before": cosines})
    shown = ANALYSES["gradients"].data([runs[0].model_copy(update={"phases": {name: small}})])
    assert shown is not None
    kind = shown["methods"][runs[0].label]["cosine_before"]
    red = sum(n for n, end in zip(kind["counts"], kind["edges"][1:], strict=True) if end <= 0)
    assert red == 2  # what is 0 but for rounding is not below
    assert kind["below_zero"] == pytest.approx(2 / 5)


def test_opposition_is_the_share_of_decisions_that_runs_counted(runs: list[Run]) -> None:
    shown = ANALYSES["opposed"].data(runs)
    assert shown is not None
    own = [run.conflicts for run in runs if run.label == "sum"]
    expected = sum((one.after or 0) * one.measured for one in own) / sum(one.measured for one in own)
    assert shown["methods"]["sum"]["after"] == pytest.approx(expected)
    assert shown["methods"]["GH"]["after"] == 0  # what it is for


def test_lines_times_and_controls_are_those_of_the_runs(runs: list[Run]) -> None:
    curves, alignment, time, negated, lam = (
        ANALYSES[name].data(runs) for name in ("convergence", "alignment", "time", "negated", "lambda")
    )
    assert curves and alignment and time and negated and lam  # noqa: PT018
    ends = [run.metrics.final["accuracy"] for run in runs if run.label == "GH" and run.metrics]
    line = curves["panels"]["accuracy"]["lines"]["GH"]
    assert line["step"] == [2, 4]
    assert line["mean"][-1] == pytest.approx(np.mean(ends))
    assert line["std"][-1] == pytest.approx(np.std(ends, ddof=1))
    assert set(alignment["panels"]) == {"mmd", "separability"}
    assert time["methods"]["sum"]["ratio"] == 1
    assert set(negated["panels"]["DANN"]) == {"sum", "GH", "negated g2", "GH++"}
    assert lam["panels"]["DANN"]["published"]["lam"] == [0.25, 0.5]


def test_what_runs_do_not_have_is_not_drawn(runs: list[Run]) -> None:
    plain = [run for run in runs if run.label == "sum"]
    assert ANALYSES["negated"].data(plain) is None
    assert ANALYSES["lambda"].data(plain) is None
    assert ANALYSES["features"].data([run.model_copy(update={"exhibits": {}}) for run in plain]) is None


def test_a_run_leaves_its_confusions_and_features(runs: list[Run]) -> None:
    run = runs[0]
    counts = np.array(run.exhibits["confusion"]["values"])
    assert run.metrics is not None
    assert 100 * np.trace(counts) / counts.sum() == pytest.approx(run.metrics.final["accuracy"])
    features = run.exhibits["features"]
    assert np.array(features["values"]).shape == (300, 10)
    assert features["domain"] == ["font"] * 150 + ["optical"] * 150
    assert len(features["label"]) == 300
    matrix = ANALYSES["confusion"].data(runs)
    assert matrix is not None
    assert np.array(matrix["methods"]["sum"]["percent"]).sum(axis=1) == pytest.approx(100, abs=0.1)
