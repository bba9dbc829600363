"""One run, its file, and what happens when it is asked for again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mtlgrad.compare import environment
from mtlgrad.compare.environment import code_digest
from mtlgrad.compare.job import Job, jobs_of
from mtlgrad.compare.problem import Phase
from mtlgrad.compare.run import execute
from mtlgrad.compare.schema import Identity, Run, read_run, write_run
from mtlgrad.compare.suite import Suite
from tests.compare.linear import Linear


def make(folder: Path, *, method: str = "gh", steps: int = 12, **options: Any) -> Job:
    identity = Identity(
        suite="small",
        arm="plain",
        label="GH",
        problem="tests.compare.linear:Linear",
        problem_options={"steps": steps, **options},
        method=method,
        method_args={},
        seed=1,
        evaluate_every=3,
    )
    return Job(identity, folder)


def observed(run: Run) -> dict[str, Any]:
    """What came of it: all but what was asked for, clock and place."""
    asked = {*Identity.model_fields, "all_problem_options", "all_method_args"}
    return run.model_dump(exclude=asked | {"started", "finished", "step_ms", "machine", "versions"})


def test_a_run_leaves_a_valid_file_and_nothing_else(tmp_path: Path) -> None:
    job = make(tmp_path)
    run = execute(job)
    assert read_run(job.result) == run
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [job.result]
    assert (run.status, run.metric) == ("ok", "accuracy")
    assert run.metrics is not None
    assert (run.metrics.final_step, run.metrics.best_step) == (12, 6)
    assert [point.step for point in run.curve] == [3, 6, 9, 12]
    assert run.phases["pair"].tasks == ["a", "b"]
    assert run.conflicts.measured == len(run.phases["pair"].decision) == 2
    assert run.step_ms is not None
    assert run.step_ms.q25 <= run.step_ms.median <= run.step_ms.q75
    assert run.step_ms.steps == 12
    assert "weights </script>" in run.exhibits


def test_a_result_of_other_code_is_told_from_one_of_this(tmp_path: Path) -> None:
    job = make(tmp_path)
    assert not job.outdated()
    run = execute(job)
    assert not job.outdated()
    write_run(run.model_copy(update={"versions": run.versions.model_copy(update={"code": "0" * 12})}), job.result)
    assert job.finished()
    assert job.outdated()


def test_the_commit_is_that_of_the_code_that_was_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits, step = ["before"], Linear.step

    def committing(self: Linear, index: int) -> Iterator[Phase]:
        commits[:] = ["made meanwhile"]
        return step(self, index)

    monkeypatch.setattr(environment, "_git", lambda *arguments: commits[0])
    monkeypatch.setattr(Linear, "step", committing)
    environment.versions.cache_clear()
    try:
        assert execute(make(tmp_path)).versions.commit == "before"
    finally:
        environment.versions.cache_clear()


def test_a_run_tells_every_option_it_ran_with(tmp_path: Path) -> None:
    job = make(tmp_path, rate=0.1)
    execute(job)
    run = read_run(job.result)
    assert run.problem_options == {"steps": 12, "rate": 0.1}
    assert (run.all_problem_options["rate"], run.all_problem_options["target_bias"]) == (0.1, 0.0)


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ({"method": "cagrad"}, {"c": 0.5, "rescale": "none"}),
        ({"method": "ema", "method_args": {"inner": {"method": "cagrad"}}}, {"inner": "CAGrad(c=0.5, rescale='none')"}),
        ({"method": "fixed", "method_args": {"weights": [0.5, 1.5]}}, {"weights": [0.5, 1.5]}),
    ],
)
def test_a_run_tells_every_argument_of_its_method(tmp_path: Path, method: dict[str, Any], told: dict[str, Any]) -> None:
    job = make(tmp_path)
    job = replace(job, identity=job.identity.model_copy(update=method))
    execute(job)
    found = read_run(job.result).all_method_args
    assert {name: found[name] for name in told} == told


def test_the_settings_of_a_failed_run_are_told_and_do_not_change_which_run_it_is(tmp_path: Path) -> None:
    job = make(tmp_path, fail_at=2)
    run = execute(job)
    assert (run.status, run.all_problem_options["fail_at"]) == ("failed", 2)
    assert run.digest == job.identity.digest


def test_a_file_from_before_a_field_was_there_is_read(run_file: dict[str, Any]) -> None:
    old = {
        name: value
        for name, value in run_file.items()
        if name not in ("notes", "all_problem_options", "all_method_args")
    }
    run = Run.model_validate_json(json.dumps(old))
    assert (run.notes, run.all_problem_options, run.all_method_args) == ([], {}, {})


def test_the_file_of_a_failure_names_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Linear, **given: Any) -> None:
        raise FileNotFoundError(2, "No such file or directory", "/home/someone/data/mnist")

    monkeypatch.setattr(Linear, "setup", missing)
    job = make(tmp_path)
    assert "'/home/someone/data/mnist'" in execute(job).reason
    written = job.result.read_text()
    assert "'mnist'" in written
    assert "/home" not in written


def test_a_validation_score_that_is_not_a_number_fails_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.compare.linear.Linear.validation_score", lambda self: float("nan"))
    run = execute(make(tmp_path))
    assert run.status == "ok"
    assert run.metrics is not None
    assert (run.metrics.final_validation, run.metrics.best) == (None, None)


def test_a_run_is_a_function_of_its_identity(tmp_path: Path) -> None:
    assert observed(execute(make(tmp_path / "a"))) == observed(execute(make(tmp_path / "b")))


def test_finished_runs_are_known_and_others_are_not(tmp_path: Path) -> None:
    job = make(tmp_path)
    assert not job.finished()
    execute(job)
    assert job.finished()
    assert make(tmp_path, steps=12).finished()
    assert not make(tmp_path, steps=13).finished()
    assert not make(tmp_path, method="sum").finished()
    assert not make(tmp_path, rate=0.1).finished()
    job.result.write_text(job.result.read_text()[:-100])
    assert not job.finished()


def test_a_crash_is_a_result_and_worth_another_try(tmp_path: Path) -> None:
    job = make(tmp_path, fail_at=4)
    run = execute(job)
    assert run.status == "failed"
    assert run.reason.startswith("RuntimeError: made to fail at step 4 (")
    assert "linear.py:" in run.reason
    assert str(Path.cwd()) not in job.result.read_text()
    assert not job.finished()


def test_a_crash_keeps_the_checkpoint_and_the_next_try_goes_on_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtlgrad.compare.run.CHECKPOINT_EVERY_S", 0.0)
    job, step, seen = make(tmp_path), Linear.step, []

    def crashing(self: Linear, index: int) -> Iterator[Phase]:
        seen.append(index)
        if seen == [*range(9)]:
            raise RuntimeError("no memory left")
        return step(self, index)

    monkeypatch.setattr(Linear, "step", crashing)
    assert execute(job).status == "failed"
    assert job.checkpoint.exists()
    (job.checkpoint.parent / job.checkpoint.name.replace(code_digest(job.source), "0" * 12)).write_bytes(
        b"of older code"
    )
    again = execute(job)
    assert seen == [*range(9), 8, 9, 10, 11]
    assert not list(job.checkpoint.parent.iterdir())
    assert observed(again) == observed(execute(make(tmp_path / "straight")))


def test_a_checkpoint_that_cannot_be_loaded_fails_one_try_only(tmp_path: Path) -> None:
    job = make(tmp_path)
    job.checkpoint.parent.mkdir(parents=True)
    job.checkpoint.write_bytes(b"torn")
    run = execute(job)
    assert (run.status, job.checkpoint.exists()) == ("failed", False)
    assert run.reason.startswith("CheckpointError: ")
    assert execute(job).status == "ok"


@pytest.mark.parametrize(
    "shown", [{"heat": {"kind": "images", "png": b"raw"}}, OSError(28, "disk full", "/tmp/x/y.png")]
)
def test_exhibits_that_cannot_be_made_cost_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: Any
) -> None:
    def exhibits(self: Linear) -> dict[str, Any]:
        if isinstance(shown, Exception):
            raise shown
        return dict(shown)

    monkeypatch.setattr(Linear, "exhibits", exhibits)
    job = make(tmp_path)
    execute(job)
    run = read_run(job.result)
    assert (run.status, run.exhibits, job.checkpoint.exists()) == ("ok", {}, False)
    (note,) = run.notes
    assert note.startswith("no exhibits: ")
    assert "/tmp/" not in note


def test_divergence_is_a_result(tmp_path: Path) -> None:
    job = make(tmp_path, steps=40, poison_from=5)
    run = execute(job)
    assert (run.status, run.skipped_updates) == ("diverged", 20)
    assert [point.step for point in run.curve] == [3, 6, 9, 12, 15, 18, 21, 24]
    assert job.finished()


def test_an_interrupted_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    job = make(tmp_path, interrupt_at=4)
    with pytest.raises(KeyboardInterrupt):
        execute(job)
    assert job.checkpoint.exists()
    assert json.loads(job.live.read_text())["step"] <= 5
    assert not job.result.exists()
    resumed = execute(job)
    assert not job.checkpoint.exists()
    assert observed(resumed) == observed(execute(make(tmp_path / "straight")))


def test_a_checkpoint_of_other_options_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        execute(make(tmp_path, interrupt_at=4))
    changed = make(tmp_path, rate=0.1)
    assert observed(execute(changed)) == observed(execute(make(tmp_path / "straight", rate=0.1)))


def test_jobs_cover_the_suite_seed_by_seed(suite: Suite, tmp_path: Path) -> None:
    jobs = jobs_of(suite, tmp_path)
    assert len(jobs) == len(suite.arms) * len(suite.methods) * len(suite.seeds)
    assert [job.identity.seed for job in jobs] == sorted(job.identity.seed for job in jobs)
    assert jobs[0].result == tmp_path / "runs" / "plain--slow--seed0.json"


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    job = make(tmp_path_factory.mktemp("runs"))
    execute(job)
    loaded: dict[str, Any] = json.loads(job.result.read_text())
    return loaded


@pytest.mark.parametrize(
    ("where", "value", "told"),
    [
        (("status",), "crashed", "status"),
        (("status",), "diverged", "says why"),
        (("schema_version",), 2, "schema_version"),
        (("extra",), 1, "extra"),
        (("seed",), -1, "seed"),
        (("metrics", "final"), {"accuracy": None}, "has a final 'accuracy'"),
        (("conflicts", "before"), 1.2, "less than or equal to 1"),
        (("conflicts", "before"), None, "exactly when something was measured"),
        (("machine", "kind"), "/home/someone", "not a path"),
        (("started",), "2026-01-01T00:00:00", "timezone"),
        (("finished",), "2020-01-01T00:00:00Z", "before started"),
        (("phases", "pair", "inner_after"), [], "equally long"),
        (("step_ms", "median"), "fast", "step_ms.median"),
        (("threads",), 0, "threads"),
    ],
)
def test_the_schema_refuses(run_file: dict[str, Any], where: tuple[str, ...], value: object, told: str) -> None:
    changed = json.loads(json.dumps(run_file))
    parent = changed
    for key in where[:-1]:
        parent = parent[key]
    parent[where[-1]] = value
    with pytest.raises(ValidationError, match=told):
        Run.model_validate_json(json.dumps(changed))


def test_numbers_that_json_does_not_have_are_refused(run_file: dict[str, Any], tmp_path: Path) -> None:
    run = Run.model_validate_json(json.dumps(run_file))
    assert run.step_ms is not None
    broken = run.model_copy(update={"step_ms": run.step_ms.model_copy(update={"median": float("nan")})})
    with pytest.raises(ValidationError, match="finite"):
        write_run(broken, tmp_path / "run.json")
    assert not (tmp_path / "run.json").exists()
