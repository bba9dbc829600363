"""The command line from end to end, on the millisecond task."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.__main__ import COMMANDS, main
from mtlgrad.compare.schema import read_run
from tests.compare.conftest import SUITE
from tests.compare.linear import Linear

ROOT = Path(__file__).parents[2]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def compare(suite_file: Path, out: Path, *more: str) -> int:
    return main(["compare", str(suite_file), "--out", str(out), "--jobs", "1", *more])


def test_a_comparison_from_start_to_report(suite_file: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(suite_file, out) == 0
    text = capsys.readouterr().out
    assert "24 runs, 0 there already" in text
    assert "[24/24] biased  fixed 0.5 / 1.5  seed 2  accuracy 64.0" in text
    assert "tuned weights: sum" in text  # the first of equals
    folder = out / "small"
    runs = [read_run(path) for path in (folder / "runs").glob("*.json")]
    assert len(runs) == 24
    table = (folder / "table.md").read_text()
    assert "| GH++ rotation | 54.00 ± 0 | 0.0 [0.0, 0.0] | undecided |" in table
    assert "Seeds 0 to 2; 12 steps" in table
    summary = json.loads((folder / "summary.json").read_text())
    assert [row["label"] for row in summary["arms"]["plain"]] == [
        "slow", "sum", "GH++ rotation", "fixed 0.5 / 1.5", "tuned weights",
    ]  # fmt: skip
    assert {path.name for path in folder.iterdir()} >= {"suite.json", "runs", "table.md", "summary.json", "report.html"}


def test_asking_again_runs_what_is_missing(suite_file: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare(suite_file, out, "--methods", "GH++ rotation", "--seeds", "0,1")
    first = {path.name: path.read_bytes() for path in (out / "small" / "runs").iterdir()}
    assert len(first) == 8
    capsys.readouterr()
    compare(suite_file, out)
    assert "24 runs, 8 there already" in capsys.readouterr().out
    assert all((out / "small" / "runs" / name).read_bytes() == data for name, data in first.items())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("trial", [("--steps", "6"), ("--steps", "6", "--methods", "sum", "--seeds", "7,")])
def test_finished_results_of_other_settings_are_replaced_only_when_told_to(
    suite_file: Path, out: Path, capsys: pytest.CaptureFixture[str], trial: tuple[str, ...]
) -> None:
    chosen = ("--methods", "sum", "--seeds", "0,1")
    assert compare(suite_file, out, *chosen) == 0
    before = files(out)
    capsys.readouterr()
    assert compare(suite_file, out, *trial) == 2
    told = capsys.readouterr().err
    assert f"error: {out / 'small'} holds 4 finished results of other settings" in told
    assert all(way in told for way in ("--out", "--overwrite", "another name"))
    assert files(out) == before
    assert compare(suite_file, out, *trial, "--overwrite") == 0
    assert files(out) != before
    assert "Seed" in (out / "small" / "table.md").read_text()


def test_an_edited_suite_does_not_replace_results_and_a_longer_one_goes_on(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SUITE, encoding="utf-8")
    chosen = ("--methods", "slow", "--seeds", "1")
    assert compare(path, out, *chosen) == 0
    before = files(out)
    path.write_text(SUITE.replace("rate = 0.001", "rate = 0.002"), encoding="utf-8")
    assert compare(path, out, *chosen) == 2
    assert files(out) == before
    longer = '\n[[methods]]\nlabel = "GH"\nmethod = "gh"\n'
    path.write_text(SUITE.replace("A small comparison", "Another title") + longer, encoding="utf-8")
    assert compare(path, out, "--methods", "GH", "--seeds", "2") == 0


def test_failed_results_of_other_settings_may_be_replaced(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SUITE.replace("rate = 0.001", "fail_at = 2"), encoding="utf-8")
    assert compare(path, out, "--methods", "slow", "--seeds", "1") == 1
    path.write_text(SUITE, encoding="utf-8")
    assert compare(path, out, "--methods", "slow", "--seeds", "1") == 0


def test_report_makes_the_same_again_from_the_folder(suite_file: Path, out: Path) -> None:
    compare(suite_file, out, "--seeds", "1")
    folder = out / "small"
    before = {name: (folder / name).read_bytes() for name in ("report.html", "table.md", "summary.json")}
    for name in before:
        (folder / name).unlink()
    assert main(["report", str(folder)]) == 0
    assert {name: (folder / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("kind", ["interrupt_at", "terminate_at"])
def test_an_interrupt_is_told_and_the_same_command_resumes(
    kind: str, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SUITE.replace("target_bias = 1.0", f"target_bias = 1.0, {kind} = 7"), encoding="utf-8")
    arguments = ("--methods", "sum", "--seeds", "1")
    assert compare(path, out, *arguments) == 130
    assert len(list((out / "small" / "checkpoints").glob("biased--sum--seed0-*.pt"))) == 1
    caught = capsys.readouterr()
    assert "resume with the same command" in caught.err
    assert "[1/2] plain" in caught.out
    assert compare(path, out, *arguments) == 0
    assert "2 runs, 1 there already" in capsys.readouterr().out


def test_a_failed_run_is_shown_and_changes_the_exit_code(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SUITE.replace("rate = 0.001", "fail_at = 2"), encoding="utf-8")
    assert compare(path, out, "--methods", "slow", "--seeds", "1") == 1
    caught = capsys.readouterr()
    assert "2 of 4 runs failed" in caught.err
    assert "0 of 1 (1 failed)" in caught.out
    page = (out / "small" / "report.html").read_text()
    assert "RuntimeError: made to fail at step 2" in page


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["compare", "nothing"], r"unknown suite 'nothing'; known: .*quickstart.*, or the path of a .toml file"),
        (["compare"], "which suite\\? known: "),
        (["compare", "quickstart", "--methods", "GH,nash"], "unknown method 'nash' in suite 'quickstart'; known: .*GH"),
        (["compare", "quickstart", "--seeds", "all"], "--seeds must be a count from 1 to 10000 or a list .* got 'all'"),
        (["compare", "quickstart", "--log-with", "paper"], "--log-with knows .*tensorboard.*; got 'paper'"),
        (["compare", "quickstart", "--methods", ","], "--methods must be a list of labels such as sum,GH; got ','"),
        (["compare", "quickstart", "--log-with", "wandb"], "--log-with wandb: not installed; installed: .*tensorboard"),
        (["report", "nowhere"], "nowhere holds no suite.json"),
        (["report", __file__], "test_command.py holds no suite.json"),
    ],
)
def test_requests_that_cannot_be_met(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert re.search(told, message)
    assert message.startswith("error: ")
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["compare", "quickstart", "--steps", "0"], "--steps: must be an int >= 1, got '0'"),
        (["compare", "quickstart", "--jobs", "-2"], "--jobs: must be an int >= 1, got '-2'"),
        (["compare", "quickstart", "--threads", "x"], "--threads: must be an int >= 1, got 'x'"),
        (["solvers", "--seed", "-1"], "--seed: must be an int >= 0, got '-1'"),
        (["solvers", "--largest", "1"], "--largest: must be an int >= 2, got '1'"),
        (["solvers", "--json", f"{__file__}/x.json"], "--json: cannot be written: .*x.json"),
        (["speed", "--out", "/"], "--out: cannot be written: '/' is a folder"),
    ],
)
def test_numbers_and_files_that_cannot_be(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert re.search(told, capsys.readouterr().err)


def test_a_place_that_cannot_be_written_is_named_before_anything_runs(
    suite_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    assert compare(suite_file, tmp_path / "taken") == 2
    caught = capsys.readouterr()
    assert re.match(r"error: --out .*taken: cannot be written: Not a directory\n$", caught.err)
    assert "runs" not in caught.out


def test_a_report_that_cannot_be_written_is_named(
    suite_file: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(suite_file, out, "--methods", "sum", "--seeds", "1")
    (out / "small" / "table.md").unlink()
    (out / "small" / "table.md").mkdir()
    capsys.readouterr()
    assert main(["report", str(out / "small")]) == 2
    assert re.match(r"error: .*small: cannot be written: ", capsys.readouterr().err)


def test_brackets_in_folder_names_are_shown(
    suite_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(suite_file, tmp_path / "[bold]here", "--methods", "sum", "--seeds", "1") == 0
    assert capsys.readouterr().out.count("[bold]here") == 2


def test_published_files_name_no_folder_of_this_machine(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "descents.toml"
    path.write_text(
        SUITE.replace("seeds = ", 'problem_options = { data_dir = "/home/someone/sets/mnist" }\nseeds = '),
        encoding="utf-8",
    )
    assert compare(path, out, "--methods", "sum", "--seeds", "1") == 0
    folder = out / "small"
    for name in ("summary.json", "table.md", "report.html"):
        assert "/home/someone" not in (folder / name).read_text(encoding="utf-8")
    for name in ("summary.json", "report.html"):
        assert "mnist" in (folder / name).read_text(encoding="utf-8")
    assert main(["report", str(folder)]) == 0


def test_a_failure_is_told_whole_where_it_happened_and_without_folders_in_its_file(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(self: Linear, **given: object) -> None:
        raise FileNotFoundError("no folder /home/someone/sets/mnist;\nexpected there: images")

    monkeypatch.setattr(Linear, "setup", missing)
    path = tmp_path / "small.toml"
    path.write_text(SUITE, encoding="utf-8")
    assert compare(path, out, "--methods", "sum", "--seeds", "1") == 1
    assert "FileNotFoundError: no folder /home/someone/sets/mnist; expected there: images" in capsys.readouterr().out
    for file in (out / "small" / "runs").glob("*.json"):
        assert read_run(file).reason.startswith("FileNotFoundError: no folder mnist; expected there: images (")


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "compare", "nothing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown suite 'nothing'; known: ")


def test_trackers_log_every_run(suite_file: Path, out: Path) -> None:
    assert compare(suite_file, out, "--methods", "sum", "--seeds", "1", "--log-with", "tensorboard") == 0
    logs = out / "small" / "logs"
    assert {path.name for path in logs.iterdir()} == {"plain--sum--seed0", "biased--sum--seed0"}
    assert all(list(path.rglob("events.out.tfevents.*")) for path in logs.iterdir())


def test_the_suites_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--list"]) == 0
    text = capsys.readouterr().out
    assert "quickstart" in text
    assert "digits" in text


def test_commands_are_modules_of_one_shape() -> None:
    for module in COMMANDS.values():
        assert isinstance(module.HELP, str)
        assert callable(module.add_arguments)
        assert callable(module.run)


def test_side_by_side_gives_the_same_results(tmp_path: Path) -> None:
    path = tmp_path / "descents.toml"
    path.write_text(
        'name = "descents"\ntitle = "t"\ndescription = "d"\ntask = "toy"\nseeds = [0]\nsteps = 10\nevaluate_every = 5\n'
        'baseline = "MGDA"\n[[arms]]\nname = "all"\ntitle = "all"\n'
        '[[methods]]\nlabel = "MGDA"\nmethod = "mgda"\n[[methods]]\nlabel = "GH"\nmethod = "gh"\n',
        encoding="utf-8",
    )
    for jobs in ("1", "9"):
        assert main(["compare", str(path), "--out", str(tmp_path / jobs), "--jobs", jobs]) == 0
    for label in ("mgda", "gh"):
        one, two = (read_run(tmp_path / jobs / "descents" / "runs" / f"all--{label}--seed0.json") for jobs in "19")
        assert (one.metrics, one.curve, one.phases) == (two.metrics, two.curve, two.phases)
        assert (one.jobs, two.jobs) == (1, 2), "those that ran, not those allowed"


class Page(HTMLParser):
    """What a browser would fetch, and the figures."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.figures: list[str] = []
        self.text = ""
        self._kind: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.fetched += [value for key in ("src", "href") if (value := values.get(key)) and not value.startswith("#")]
        self._kind = values.get("type") if tag == "script" else tag
        if self._kind == "application/json":
            self.figures.append("")

    def handle_data(self, data: str) -> None:
        if self._kind == "application/json":
            self.figures[-1] += data  # long text arrives in pieces
        elif self._kind not in (None, "style"):
            self.text += data


def test_the_report_stands_alone(suite_file: Path, out: Path) -> None:
    compare(suite_file, out, "--seeds", "2")
    source = (out / "small" / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(source)
    assert page.fetched
    assert all(value.startswith(("data:image/png;base64,", "data:,")) for value in page.fetched)
    style = re.search(r"<style>(.*?)</style>", source, re.S)
    assert style is not None
    assert "http" not in style[1]
    assert "@import" not in style[1]
    figures = [json.loads(text) for text in page.figures]
    # per arm: bars, times, curves, a histogram and a line exhibit for each of the four methods; over arms: profiles
    assert len(figures) == 2 * (3 + 4 + 4) + 1
    assert all(figure["data"] and "template" not in figure["layout"] for figure in figures)
    assert "A small comparison <b>" in page.text  # escaped in the source
    for label in ("GH++ rotation", "tuned weights: ", "slow"):
        assert label in page.text
    assert source.count("iVBORw0KGgo=") == 2  # the exhibit that all methods share is shown once per arm


@pytest.mark.parametrize("option", ["", "--names"])
def test_a_reader_that_has_read_enough_is_told_nothing(option: str) -> None:
    script = f"{sys.executable} -m mtlgrad.compare methods {option} | true"
    found = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert found.stderr == ""
