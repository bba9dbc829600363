"""What happens in or around one run ends no other: clocks, full disks, other launchers, killed processes."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from mtlgrad.compare import claims, clock, job, leftovers, live, run, sweep
from mtlgrad.compare.claims import claimed
from mtlgrad.compare.command import main
from mtlgrad.compare.job import Job
from mtlgrad.compare.run import attempt, execute
from mtlgrad.compare.schema import read_run
from tests.compare.linear import Linear
from tests.compare.test_function import ENVIRONMENT, SUITE, here, observed
from tests.compare.test_run import make

__all__ = ["here"]


def test_a_clock_that_is_set_back_during_a_run_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Backwards(datetime):
        hours = 0

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            cls.hours += 1
            return datetime(2026, 1, 1, tzinfo=UTC) - timedelta(hours=cls.hours)

    monkeypatch.setattr(clock, "datetime", Backwards)
    job = make(tmp_path)
    made = attempt(job)
    assert made is not None
    assert made.status == "ok"
    assert timedelta(0) <= made.finished - made.started < timedelta(minutes=5)
    assert job.finished()


def refuse(*arguments: Any, **named: Any) -> Any:
    raise RuntimeError("refused")


@pytest.mark.parametrize(
    "place",
    [
        "find_problem", "make_method", "make_problem", "train", "versions", "write_run", "_accelerator", "claimed",
        "ready", "observed", "code_digest", "machine",
    ],
)  # fmt: skip
def test_whatever_fails_around_a_run_is_the_result_of_that_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    jobs = [make(tmp_path / name) for name in "abc"]
    holders = [module for module in (run, job) if hasattr(module, place)]
    real = getattr(holders[0], place)
    calls: list[Any] = []

    def fails_in_the_second(*arguments: Any, **named: Any) -> Any:
        current = calls[-1] if calls else None
        return refuse() if current == 1 else real(*arguments, **named)

    for holder in holders:
        monkeypatch.setattr(holder, place, fails_in_the_second)
    real_attempt = sweep.attempt

    def numbered(job: Job) -> Any:
        calls.append(jobs.index(job))
        return real_attempt(job)

    monkeypatch.setattr(sweep, "attempt", numbered)
    outcomes = {jobs.index(job): made.status for job, made in sweep.sweep(jobs, parallel=1)}
    assert outcomes == {0: "ok", 1: "failed", 2: "ok"}


def test_a_script_that_exits_ends_its_own_run_only(here: Path) -> None:
    text = SUITE.replace('label = "GH"', 'label = "GH"\nproblem_options = { exit_at = 3 }')
    (here / "own.toml").write_text(text, encoding="utf-8")
    assert main(["compare", str(here / "own.toml"), "--out", str(here), "--jobs", "1"]) == 1
    statuses = {name: found["status"] for name, found in observed(here / "own").items()}
    assert {name.split("--")[1] for name, status in statuses.items() if status == "failed"} == {"gh"}
    assert "SystemExit: 3" in read_run(here / "own" / "runs" / "all--gh--seed0.json").reason


def test_progress_that_cannot_be_written_is_said_once_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "LIVE_EVERY_S", 0.0)
    live._say.cache_clear()
    (tmp_path / "live").write_text("a file where a folder should be", encoding="utf-8")
    made = execute(make(tmp_path))
    assert (made.status, made.notes) == ("ok", [])
    assert re.fullmatch(r"note: progress is not shown: .*live: .*\n", capsys.readouterr().err)


def test_checkpoints_that_cannot_be_written_cost_nothing_but_the_way_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "CHECKPOINT_EVERY_S", 0.0)
    (tmp_path / "checkpoints").write_text("", encoding="utf-8")
    made = execute(make(tmp_path))
    assert made.status == "ok"
    (note,) = made.notes
    assert note.startswith("no checkpoint could be written: ")


def test_a_result_that_cannot_be_written_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", str(here / "own.toml"), "--out", str(here), "--jobs", "1"]
    assert main(arguments) == 0
    wanted = observed(here / "own")
    taken = here / "own" / "runs" / "all--gh--seed1.json"
    taken.unlink()
    taken.mkdir()
    capsys.readouterr()
    assert main(arguments) == 1
    caught = capsys.readouterr()
    assert "Traceback" not in caught.err + caught.out
    assert caught.err.count("\n") == 1
    (line,) = [line for line in caught.out.splitlines() if "cannot be written" in line]
    assert "failed: the result cannot be written: " in line
    taken.rmdir()
    assert main(arguments) == 0
    assert observed(here / "own") == wanted


def test_a_result_that_is_ok_is_never_replaced_by_a_failed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make(tmp_path)
    execute(job)
    before = job.result.read_bytes()
    monkeypatch.setattr(Linear, "setup", refuse)
    assert execute(job).status == "failed"
    assert job.result.read_bytes() == before


def test_a_claim_is_ours_alone_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "claims" / "one.json"
    with claimed(path) as first, claimed(path) as second:
        assert (first, second) == (True, False)
        with claimed(tmp_path / "claims" / "two.json") as other:
            assert other
    with claimed(path) as again:
        assert again
    assert not list(path.parent.iterdir())


def holder(**changed: Any) -> dict[str, Any]:
    begun = psutil.Process().create_time()
    return {"host": socket.gethostname(), "pid": os.getpid(), "begun": begun, **changed}


@pytest.mark.parametrize(
    ("holds", "age", "free"),
    [
        (holder(), 1e6, False),  # a living process of this machine, however long it takes
        (holder(begun=1.0), 0, True),  # the number of a process that is gone, given to another since
        (holder(pid=2**22 + 1), 0, True),
        (holder(host="elsewhere"), 0, False),
        (holder(host="elsewhere"), claims.LOST_AFTER_S - 20, False),
        (holder(host="elsewhere"), claims.LOST_AFTER_S + 20, True),
        (holder(host="elsewhere"), -1e6, False),  # a clock that was set back
        ("cut sh", 0, False),
        ("cut sh", claims.LOST_AFTER_S + 20, True),
    ],
)
def test_whose_claim_may_be_taken_over(tmp_path: Path, holds: Any, age: float, free: bool) -> None:
    path = tmp_path / "one.json"
    path.write_text(holds if isinstance(holds, str) else json.dumps(holds), encoding="utf-8")
    os.utime(path, (time.time() - age, time.time() - age))
    with claimed(path) as mine:
        assert mine == free
    assert path.exists() == (not free)


def launch(here: Path, out: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mtlgrad.compare", "compare", "own.toml", "--out", out, *more]
    return subprocess.Popen(
        command, cwd=here, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    )


def test_two_launchers_on_one_folder_make_every_run_once(here: Path) -> None:
    own = (here / "own.py").read_text(encoding="utf-8")
    counting = "    with open(run.options['count'], 'a') as file: file.write(f'{method.name} {run.seed}\\n')\n"
    (here / "own.py").write_text(own.replace("    generator = ", counting + "    generator = ", 1), encoding="utf-8")
    count = here / "count"
    text = SUITE.replace("[metrics]", f'[problem_options]\ncount = "{count}"\n[metrics]').replace("[0, 1]", "[0, 1, 2]")
    (here / "own.toml").write_text(text, encoding="utf-8")
    both = [launch(here, "out", "--jobs", "1") for _ in range(2)]
    told = [one.communicate(timeout=300) for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    made = count.read_text(encoding="utf-8").splitlines()
    assert len(made) == len(set(made)) == 9
    assert len(observed(here / "out" / "own")) == 9
    assert all("9" in out for out, _ in told)
    assert not list((here / "out" / "own" / "claims").iterdir())


def test_a_run_that_kills_its_process_once_is_made_up_for(here: Path) -> None:
    assert main(["compare", str(here / "own.toml"), "--out", str(here / "whole"), "--jobs", "1"]) == 0
    mark = here / "marks"
    mark.mkdir()
    text = SUITE.replace("[metrics]", f'[problem_options]\ndie_at = 5\nmark = "{mark}"\n[metrics]')
    (here / "own.toml").write_text(text, encoding="utf-8")
    assert main(["compare", str(here / "own.toml"), "--out", str(here / "killed"), "--jobs", "2"]) == 0
    assert len(list(mark.iterdir())) == 2
    whole, killed = observed(here / "whole" / "own"), observed(here / "killed" / "own")
    assert {name: found["metrics"] for name, found in killed.items()} == {
        name: found["metrics"] for name, found in whole.items()
    }


def test_what_killed_processes_leave_goes_with_the_next_command(here: Path) -> None:
    arguments = ["compare", str(here / "own.toml"), "--out", str(here), "--jobs", "1"]
    assert main(arguments) == 0
    folder = here / "own"
    before = {path for path in folder.rglob("*") if path.is_file()}
    gone, living = holder(pid=2**22 + 1), holder(pid=psutil.Process().parent().pid)  # type: ignore[union-attr]
    living["begun"] = psutil.Process(living["pid"]).create_time()
    left = {
        "claims/all--gh--seed0.json": json.dumps(gone),
        "live/all--gh--seed1.json": "{}",
        "live/all--gh--seed1.json.12.tmp": "{",
        "checkpoints/all--gh--seed0-0123456789abcdef-0123456789ab.pt.12.tmp": "half",
        "runs/all--sum--seed0.json.12.tmp": "{",
    }
    kept = {"claims/all--mine--seed0.json": json.dumps(living), "live/all--mine--seed0.json": "{}"}
    for name, text in {**left, **kept}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    assert main(arguments) == 0
    assert {path for path in folder.rglob("*") if path.is_file()} == before | {folder / name for name in kept}


POINTS = int(os.environ.get("MTLGRAD_KILLS", "2"))
"""How many times the launcher is killed."""


def test_a_killed_launcher_leaves_a_folder_that_the_same_command_completes(here: Path) -> None:
    text = SUITE.replace("steps = 12", "steps = 400")
    (here / "own.toml").write_text(text, encoding="utf-8")
    begin = time.monotonic()
    whole = launch(here, "whole", "--jobs", "2")
    _, told = whole.communicate(timeout=300)
    assert whole.returncode == 0, told
    lasted = time.monotonic() - begin
    draw = random.Random(0)
    for k in range(POINTS):
        killed = launch(here, "killed", "--jobs", "2")
        time.sleep(lasted * draw.uniform(0.3, 0.9) / (1 + k / 4))
        children = psutil.Process(killed.pid).children(recursive=True) if killed.poll() is None else []
        for process in draw.sample(children, len(children)):  # workers and launcher, none of them asked
            process.send_signal(signal.SIGKILL)
        killed.kill()
        killed.communicate()
    last = launch(here, "killed", "--jobs", "2")
    _, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    assert observed(here / "killed" / "own") == observed(here / "whole" / "own")
    left = {
        path.relative_to(here / "killed" / "own").parts[0]
        for path in (here / "killed" / "own").rglob("*")
        if path.is_file()
    }
    assert left == {"runs", "suite.json", "summary.json", "table.md", "report.html"}, left


def test_half_written_tables_of_processes_that_are_gone_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    old, new, ours = (tmp_path / f"report.html.{name}.tmp" for name in (gone.pid, f"0{gone.pid}", os.getpid()))
    for path in (old, new, ours):
        path.write_text("half")
    for path in (old, ours):
        os.utime(path, (1, 1))
    leftovers._tidy_half_written(tmp_path)
    assert [path.exists() for path in (old, new, ours)] == [False, True, True]
