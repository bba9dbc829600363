"""One run: a function of suite row, arm, seed and code, leaving one file."""

from __future__ import annotations

import json
import math
import re
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from pydantic import ValidationError

from benchmarks.environment import code_digest, machine, versions
from benchmarks.schema import (
    Conflicts,
    CurvePoint,
    Identity,
    Metrics,
    MetricsAt,
    PhaseSamples,
    Run,
    StepTime,
    read_run,
    write_atomically,
    write_run,
)
from benchmarks.suite import Suite, slug
from mtlgrad import Method, catalog
from tasks.base import Task
from tasks.history import Decisions, Evaluation, History
from tasks.loop import CheckpointError, Event, train
from tasks.registry import make_task

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
        return self.folder / "checkpoints" / f"{self.stem}-{self.identity.digest}-{code_digest()}.pt"

    def finished(self) -> bool:
        """Whether a valid result of exactly this run is there. A failed one is not: it is worth another try."""
        try:
            found = read_run(self.result)
        except (OSError, ValidationError, ValueError):
            return False
        return found.digest == self.identity.digest and found.status != "failed"

    def outdated(self) -> bool:
        """Whether the result that is there was made by another version of the code than would run now."""
        return self.finished() and read_run(self.result).versions.code != code_digest()

    def make_task(self) -> Task:
        return make_task(self.identity.task, self.identity.task_options)

    def make_method(self) -> Method:
        return catalog.make(self.identity.method, **self.identity.method_args)


def jobs_of(suite: Suite, folder: Path, **shared: Any) -> list[Job]:
    """All runs of a suite, seed by seed, so that an early look at the results has every method."""
    return [
        Job(suite.identity(arm, row, seed), folder, **shared)
        for seed in suite.seeds
        for arm in suite.arms
        for row in suite.methods
    ]


def execute(job: Job) -> Run:
    """Make the run, or go on with it, and write its file. An exception is a result too; KeyboardInterrupt is not.

    What went wrong is returned as it was said, and written without the folders of this machine.

    The checkpoint of a run that failed stays, for the next try to go on from, unless it is itself what failed.
    """
    versions()  # now: by the end of a long run the tree may hold other code than was loaded
    torch.set_num_threads(job.threads)
    started = datetime.now(UTC)
    keep, settings = False, {}
    try:
        task, method = job.make_task(), job.make_method()
        settings = {"all_task_options": _ready(task.options), "all_method_args": _ready(_fields(method))}
        report = _reporter(job, task.metric)
        report(Event(0, task.total_steps))  # making the data can take a while: the run shows from its start
        accelerator = _accelerator(job)
        try:
            history = train(
                task,
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
        exhibits, notes = _exhibits(task) if history.status == "ok" else ({}, [])
        run = _result(job, history, exhibits, notes, started)
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


def _exhibits(task: Task) -> tuple[dict[str, Any], list[str]]:
    """The task's exhibits, or why there are none: what is shown beside the numbers costs nobody the numbers."""
    try:
        exhibits = task.exhibits()
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
            value = _plain(event.evaluation.metrics)[metric]
        now = time.monotonic()
        if now - last >= LIVE_EVERY_S or event.step == event.total:
            last = now
            write_atomically(json.dumps({"step": event.step, "total": event.total, "metric": value}), job.live)

    return report


def _result(job: Job, history: History, exhibits: dict[str, Any], notes: list[str], started: datetime) -> Run:
    final, best = history.final, history.best
    quartiles = history.step_ms_quartiles()
    return _run(
        job,
        started,
        status="ok" if history.status == "ok" else "diverged",
        reason=history.reason,
        metric=history.metric,
        metrics=None if final is None else _metrics(final, best),
        conflicts=Conflicts(
            before=history.conflict_share_before, after=history.conflict_share_after, measured=history.measured
        ),
        step_ms=None
        if quartiles is None
        else StepTime(q25=quartiles[0], median=quartiles[1], q75=quartiles[2], steps=len(history.step_ms)),
        skipped_updates=history.skipped,
        curve=[
            CurvePoint(step=one.step, metrics=_plain(one.metrics), validation=_number(one.validation_score))
            for one in history.curve
        ],
        phases={name: _samples(decisions) for name, decisions in history.decisions.items()},
        exhibits=exhibits,
        notes=notes,
    )


FOLDERS = re.compile(r"(?<![\w.])/(?:[^/\s'\"]+/)+")
"""The folders of an absolute path."""


def _failure(job: Job, error: Exception, started: datetime) -> Run:
    return _run(
        job,
        started,
        status="failed",
        reason=_told(error),
        metric="",
        metrics=None,
        conflicts=Conflicts(before=None, after=None, measured=0),
        step_ms=None,
        skipped_updates=0,
        curve=[],
        phases={},
        exhibits={},
    )


def _told(error: Exception) -> str:
    """What went wrong, and where."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({where})"


def _run(job: Job, started: datetime, **observed: Any) -> Run:
    return Run(
        **job.identity.model_dump(),
        versions=versions(),
        machine=machine(),
        threads=job.threads,
        jobs=job.jobs,
        started=started,
        finished=datetime.now(UTC),
        **observed,
    )


def _metrics(final: Evaluation, best: Evaluation | None) -> MetricsAt:
    return MetricsAt(
        final=_plain(final.metrics),
        final_step=final.step,
        final_validation=_number(final.validation_score),
        best=None if best is None else _plain(best.metrics),
        best_step=None if best is None else best.step,
        best_validation=None if best is None else _number(best.validation_score),
    )


def _samples(decisions: Decisions) -> PhaseSamples:
    samples, measured = decisions.samples, decisions.measured
    weights = [sample.weights for sample in samples if sample.weights is not None]
    return PhaseSamples(
        tasks=decisions.tasks,
        conflicts=Conflicts(
            before=decisions.conflicts_before / measured if measured else None,
            after=decisions.conflicts_after / measured if measured else None,
            measured=measured,
        ),
        decision=[sample.decision for sample in samples],
        inner_before=[sample.inner_before for sample in samples],
        inner_after=[sample.inner_after for sample in samples],
        cosine_before=[sample.cosine_before for sample in samples],
        cosine_after=[sample.cosine_after for sample in samples],
        weights_mean=np.mean(weights, axis=0).tolist() if weights else None,
        weights_std=np.std(weights, axis=0).tolist() if weights else None,
    )


def _number(value: float | None) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if value is not None and math.isfinite(value) else None


def _plain(metrics: Mapping[str, float]) -> Metrics:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
