"""One run: a function of suite row, arm, seed and code, leaving one file."""

from __future__ import annotations

import json
import math
import re
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from pydantic import ValidationError

from mtlgrad import Method
from mtlgrad.compare.checkpoints import CheckpointError
from mtlgrad.compare.environment import code_digest, machine, versions
from mtlgrad.compare.loop import Event, train
from mtlgrad.compare.problem import Problem
from mtlgrad.compare.record import nothing_observed, observed, plain
from mtlgrad.compare.registry import Registry, make_method, make_problem
from mtlgrad.compare.schema import Identity, Run, read_run, write_atomically, write_run
from mtlgrad.compare.suite import Suite, slug

CHECKPOINT_EVERY_S = 30.0
"""What a killed process may lose, a step and an evaluation aside."""
LIVE_EVERY_S = 0.25
"""A progress bar needs no more."""


@dataclass(frozen=True)
class Job:
    """One run to be made, and where its files go."""

    identity: Identity
    folder: Path
    threads: int = 1
    jobs: int = 1
    tracker: str | None = None
    known: Registry = field(default_factory=dict)
    """The problems that have a name."""

    @property
    def source(self) -> str:
        """Where the problem is imported from."""
        return self.known.get(self.identity.problem, self.identity.problem)

    @property
    def stem(self) -> str:
        return f"{self.identity.arm}--{slug(self.identity.label)}--seed{self.identity.seed}"

    @property
    def result(self) -> Path:
        return self.folder / "runs" / f"{self.stem}.json"

    @property
    def live(self) -> Path:
        """Holds the progress while the run lasts."""
        return self.folder / "live" / f"{self.stem}.json"

    @property
    def checkpoint(self) -> Path:
        """Named after options and code: a run goes on only with what it began with."""
        return self.folder / "checkpoints" / f"{self.stem}-{self.identity.digest}-{code_digest(self.source)}.pt"

    def finished(self) -> bool:
        """Whether a valid result of exactly this run is there. A failed one is not: it is worth another try."""
        try:
            found = read_run(self.result)
        except (OSError, ValidationError, ValueError):
            return False
        return found.digest == self.identity.digest and found.status != "failed"

    def outdated(self) -> bool:
        """Whether the result that is there was made by another version of the code than would run now."""
        return self.finished() and read_run(self.result).versions.code != code_digest(self.source)

    def make_problem(self) -> Problem:
        return make_problem(self.identity.problem, self.identity.problem_options, self.known)

    def make_method(self) -> Method:
        return make_method(self.identity.method, self.identity.method_args)


def jobs_of(suite: Suite, folder: Path, **shared: Any) -> list[Job]:
    """All runs of a suite, seed by seed, so that an early look at the results has every method."""
    return [Job(identity, folder, **shared) for identity in suite.identities()]


def execute(job: Job) -> Run:
    """Make the run, or go on with it, and write its file. An exception is a result too; KeyboardInterrupt is not.

    What went wrong is returned as it was said, and written without the folders of this machine.

    The checkpoint of a run that failed stays, for the next try to go on from, unless it is itself what failed.
    """
    versions(job.source)  # now: by the end of a long run the tree may hold other code than was loaded
    torch.set_num_threads(job.threads)
    started = datetime.now(UTC)
    keep, settings = False, {}
    try:
        problem, method = job.make_problem(), job.make_method()
        settings = {"all_problem_options": _ready(problem.options), "all_method_args": _ready(_fields(method))}
        report = _reporter(job, problem.metric)
        report(Event(0, problem.total_steps))  # making the data can take a while: the run shows from its start
        accelerator = _accelerator(job)
        try:
            history = train(
                problem,
                method,
                seed=job.identity.seed,
                evaluate_every=job.identity.evaluate_every,
                accelerator=accelerator,
                on_event=report,
                checkpoint=job.checkpoint,
                checkpoint_every_s=CHECKPOINT_EVERY_S,
            )
        finally:
            accelerator.end_training()
        exhibits, notes = _exhibits(problem) if history.status == "ok" else ({}, [])
        run = _run(job, started, exhibits=exhibits, notes=notes, **observed(history))
    except Exception as error:
        keep = not isinstance(error, CheckpointError)
        run = _failure(job, error, started)
    run = run.model_copy(update=settings)
    told = {"reason": FOLDERS.sub("", run.reason), "notes": [FOLDERS.sub("", note) for note in run.notes]}
    write_run(run.model_copy(update=told), job.result)  # a result says nothing about where it was made
    if not keep:
        for path in job.checkpoint.parent.glob(f"{job.stem}-{job.identity.digest}-*.pt"):  # of whatever code
            path.unlink(missing_ok=True)
    job.live.unlink(missing_ok=True)
    return run


def _fields(method: Method) -> dict[str, Any]:
    return {field.name: getattr(method, field.name) for field in fields(cast(Any, method))}


def _ready(value: Any) -> Any:
    """For JSON: what it has no form for, such as a method or an infinite number, as its repr."""
    if isinstance(value, Mapping):
        return {str(key): _ready(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_ready(one) for one in value]
    plain = value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    return value if plain else repr(value)


def _exhibits(problem: Problem) -> tuple[dict[str, Any], list[str]]:
    """The problem's exhibits, or why there are none: what is shown beside the numbers costs nobody the numbers."""
    try:
        exhibits = problem.exhibits()
        json.dumps(exhibits)
    except Exception as error:
        return {}, [f"no exhibits: {_told(error)}"]
    return exhibits, []


def _accelerator(job: Job) -> Accelerator:
    if job.tracker is None:
        return Accelerator()
    accelerator = Accelerator(log_with=job.tracker, project_dir=job.folder / "logs")
    accelerator.init_trackers(job.stem)
    return accelerator


def _reporter(job: Job, metric: str) -> Callable[[Event], None]:
    """Writes the progress to a file, now and then: it crosses process borders and survives whoever reads it."""
    last = -math.inf
    value: float | None = None

    def report(event: Event) -> None:
        nonlocal last, value
        if event.evaluation is not None:
            value = plain(event.evaluation.metrics)[metric]
        now = time.monotonic()
        if now - last >= LIVE_EVERY_S or event.step == event.total:
            last = now
            write_atomically(json.dumps({"step": event.step, "total": event.total, "metric": value}), job.live)

    return report


FOLDERS = re.compile(r"(?<![\w.])/(?:[^/\s'\"]+/)+")
"""The folders of an absolute path."""


def _failure(job: Job, error: Exception, started: datetime) -> Run:
    return _run(job, started, status="failed", reason=_told(error), exhibits={}, **nothing_observed())


def _told(error: Exception) -> str:
    """What went wrong, and where."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({where})"


def _run(job: Job, started: datetime, **known: Any) -> Run:
    return Run(
        **job.identity.model_dump(),
        versions=versions(job.source),
        machine=machine(),
        threads=job.threads,
        jobs=job.jobs,
        started=started,
        finished=datetime.now(UTC),
        **known,
    )
