"""One run: a function of suite row, arm, seed and code, leaving one file."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import torch
from accelerate import Accelerator

from mtlgrad import Method
from mtlgrad.compare.checkpoints import CheckpointError
from mtlgrad.compare.claims import claimed
from mtlgrad.compare.clock import Clock
from mtlgrad.compare.environment import UNKNOWN_MACHINE, UNKNOWN_VERSIONS, machine, versions
from mtlgrad.compare.function import FunctionRun, call
from mtlgrad.compare.history import History
from mtlgrad.compare.job import Job
from mtlgrad.compare.live import Progress
from mtlgrad.compare.loop import Event, train
from mtlgrad.compare.metrics import check_given
from mtlgrad.compare.places import hyperparameters
from mtlgrad.compare.problem import Problem
from mtlgrad.compare.record import nothing_observed, observed, ready
from mtlgrad.compare.registry import make_problem
from mtlgrad.compare.schema import Run, write_run
from mtlgrad.compare.telling import UnwrittenError, told, without_folders
from mtlgrad.compare.watched import Watched

CHECKPOINT_EVERY_S = 30.0
"""What a killed process may lose, a step and an evaluation aside."""

_Outcome = tuple[History, dict[str, Any], list[str], dict[str, Any]]
"""What was observed, exhibits, notes, the problem's options."""


def attempt(job: Job) -> Run | None:
    """Make the run unless it is made already; None where another launcher is at it.

    Nothing that happens in or around a run gets past here but KeyboardInterrupt: it becomes the result of that run.
    """
    started = Clock()
    try:
        with claimed(job.claim) as mine:
            if not mine:
                return None
            return job.found() or execute(job)
    except (Exception, SystemExit) as error:
        return failure(job, error, started)


def execute(job: Job) -> Run:
    """Make the run, or go on with it, and write its file. An exception is a result too; KeyboardInterrupt is not.

    What went wrong is returned as it was said, and written without the folders of this machine.

    The checkpoint of a run that failed stays, for the next try to go on from, unless it is itself what failed.
    """
    job.digest_code()
    torch.set_num_threads(job.threads)
    started = Clock()
    keep, settings = False, {}
    try:
        problem, method = job.find_problem(), job.make_method()
        settings = {"all_method_args": ready(hyperparameters(method))}
        if isinstance(problem, type):  # told of a run that fails too; what a function reads, only its run can tell
            made = make_problem(problem, job.identity.problem_options, name=job.identity.problem)
            settings["all_problem_options"] = ready(made.options)
        accelerator = _accelerator(job)
        try:
            history, exhibits, notes, options = (_trained if isinstance(problem, type) else _called)(
                job, problem, method, accelerator
            )
        finally:
            accelerator.end_training()
        settings["options_read"] = sorted(options.read) if isinstance(options, Watched) else None
        settings["all_problem_options"] = ready(options)
        run = _run(job, started, exhibits=exhibits, notes=notes, **observed(history))
    except (Exception, SystemExit) as error:
        keep = not isinstance(error, CheckpointError)
        run = failure(job, error, started)
    run = run.model_copy(update=settings)
    _write(run, job)
    if not keep:
        for path in job.checkpoint.parent.glob(f"{job.stem}-{job.identity.digest}-*.pt"):  # of whatever code
            path.unlink(missing_ok=True)
    with suppress(OSError):
        job.live.unlink(missing_ok=True)
    return run


def _trained(job: Job, kind: Any, method: Method, accelerator: Accelerator) -> _Outcome:
    """A problem with phases, through the training loop."""
    problem = make_problem(kind, job.identity.problem_options, name=job.identity.problem)
    report = Progress(job.live, job.metrics[0] if job.metrics else problem.metric)

    def seen(event: Event) -> None:
        if event.evaluation is not None:  # the first is early enough to lose nothing
            check_given(job.metrics, event.evaluation.metrics, f"problem {job.identity.problem!r}")
        report(event)

    report(Event(0, problem.total_steps))  # making the data can take a while: the run shows from its start
    history = train(
        problem,
        method,
        seed=job.identity.seed,
        evaluate_every=job.identity.evaluate_every,
        accelerator=accelerator,
        on_event=seen,
        checkpoint=job.checkpoint,
        checkpoint_every_s=CHECKPOINT_EVERY_S,
    )
    exhibits, notes = _exhibits(problem) if history.status == "ok" else ({}, [])
    return history, exhibits, [*history.notes, *notes], problem.options


def _called(job: Job, function: Any, method: Method, accelerator: Accelerator) -> _Outcome:
    """A problem that is a function."""
    options = job.identity.problem_options
    total = int(options.get("steps", 0))
    report = Progress(job.live, job.metrics[0] if job.metrics else "")
    job.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    run = FunctionRun(
        seed=job.identity.seed,
        options=Watched(options),
        device=accelerator.device,
        checkpoint=job.checkpoint,
        history=History(total_steps=total, metric=job.metrics[0] if job.metrics else ""),
        told=lambda run: report(Event(run.history.steps, total, run.history.curve[-1])),
        tracked=lambda values, step: accelerator.log(dict(values), step=step),
    )
    report(Event(0, total))
    history = call(function, method, run, job.metrics or None)
    return history, {}, history.notes, run.options


def _write(run: Run, job: Job) -> None:
    """Write the result; one that is ok is never replaced by one that is not."""
    if run.status != "ok":
        there = job.found()
        if there is not None and there.status == "ok":
            return
    changed = {"reason": without_folders(run.reason), "notes": [without_folders(note) for note in run.notes]}
    try:
        write_run(run.model_copy(update=changed), job.result)  # a result says nothing about where it was made
    except OSError as error:
        raise UnwrittenError(f"the result cannot be written: {job.result}: {error.strerror or error}") from error


def _exhibits(problem: Problem) -> tuple[dict[str, Any], list[str]]:
    """The problem's exhibits, or why there are none: what is shown beside the numbers costs nobody the numbers."""
    try:
        exhibits = problem.exhibits()
        json.dumps(exhibits)
    except Exception as error:
        return {}, [f"no exhibits: {told(error)}"]
    return exhibits, []


def _accelerator(job: Job) -> Accelerator:
    if job.tracker is None:
        return Accelerator()
    accelerator = Accelerator(log_with=job.tracker, project_dir=job.folder / "logs")
    accelerator.init_trackers(job.stem)
    return accelerator


def failure(job: Job, error: BaseException, started: Clock | None = None) -> Run:
    """The result of a run that failed."""
    started = started or Clock()
    known = {"status": "failed", "reason": told(error), "exhibits": {}, **nothing_observed()}
    try:
        return _run(job, started, **known)
    except Exception:  # the very thing that failed may be the look at code or machine
        return _run(job, started, versions=UNKNOWN_VERSIONS, machine=UNKNOWN_MACHINE, method_code=None, **known)


def _run(job: Job, started: Clock, **known: Any) -> Run:
    return Run(
        **job.identity.model_dump(),
        method_code=known.pop("method_code") if "method_code" in known else job.method_code,
        versions=known.pop("versions", None) or versions(job.source),
        machine=known.pop("machine", None) or machine(),
        threads=job.threads,
        jobs=job.jobs,
        started=started.begun,
        finished=started.now(),
        **known,
    )
