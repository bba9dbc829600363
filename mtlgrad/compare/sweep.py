"""Many runs, side by side here or on a cluster, each written as soon as it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import joblib
import torch
from joblib.externals.loky.process_executor import BrokenProcessPool

from mtlgrad.compare.job import Job
from mtlgrad.compare.run import attempt, failure
from mtlgrad.compare.schema import Run

LOOK_AGAIN_S = 1.0
"""How often to ask whether the runs that other launchers make are done."""

ANSWERS_WITHIN_S = 20
"""How long a scheduler may take to answer."""


class SchedulerError(ValueError):
    """A cluster that cannot be used, in one line."""


def default_jobs() -> int:
    """One run per core; one at a time where an accelerator does the work."""
    return 1 if torch.cuda.is_available() else int(joblib.cpu_count())


def sweep(
    jobs: Sequence[Job],
    *,
    parallel: int,
    scheduler: str | None = None,
    waiting: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[Job, Run]]:
    """Make every run; yields each one as it ends, in any order.

    Nothing that happens to one run ends the others: an exception is its result, and a process that is killed (by the
    system, for want of memory) is made up for. Runs that another launcher is making are waited for and yielded too.

    On an interrupt a run leaves a checkpoint behind, which the next sweep over the same folder goes on from: of the
    step it was at where runs are made one at a time, else of the last half minute, as workers may be ended at once.

    Parameters
    ----------
    jobs:
        The runs.
    parallel:
        How many at a time, in processes of this machine.
    scheduler:
        The address of a Dask scheduler: the runs are made by its workers, which share the results folder.
    waiting:
        Told how many runs are being made by others, whenever nothing else is left to do.
    """
    left = list(jobs)
    while left:
        others = []
        for job, run in _all(left, parallel, scheduler):
            if run is None:
                others.append(job)
            else:
                yield job, run
        left = others
        if left:
            waiting(len(left))
            time.sleep(LOOK_AGAIN_S)


def _all(jobs: list[Job], parallel: int, scheduler: str | None) -> Iterator[tuple[Job, Run | None]]:
    if scheduler is None and (parallel == 1 or len(jobs) <= 1):
        for job in jobs:
            yield job, attempt(job)
        return
    done: set[str] = set()
    try:
        with _workers(jobs, parallel, scheduler) as runner:
            for k, run in runner(joblib.delayed(_attempt)(k, job) for k, job in enumerate(jobs)):
                done.add(jobs[k].stem)
                yield jobs[k], run
    except BrokenProcessPool:
        # A process was killed from outside, which takes its neighbours along. The runs that are left are made one at
        # a time in a process of their own, so that a run that kills its process is found out and harms no other.
        yield from _alone([job for job in jobs if job.stem not in done])


def _alone(jobs: list[Job]) -> Iterator[tuple[Job, Run | None]]:
    for job in jobs:
        for last in (False, True):
            try:
                with _workers([job], 2, None) as runner:  # one process: joblib makes none where n_jobs is 1
                    ((_, run),) = runner([joblib.delayed(_attempt)(0, job)])
            except BrokenProcessPool as broken:
                if not last:
                    continue
                why = " ".join(str(broken).split()).partition(". ")[0]
                run = failure(job, RuntimeError(f"the process that made the run ended twice: {why}"))
            yield job, run
            break


@contextmanager
def _workers(jobs: list[Job], parallel: int, scheduler: str | None) -> Iterator[Any]:
    options: dict[str, Any] = {"return_as": "generator_unordered", "batch_size": 1}
    if scheduler is None:
        threads = max(job.threads for job in jobs)
        with joblib.parallel_config(backend="loky", inner_max_num_threads=threads):
            yield joblib.Parallel(n_jobs=parallel, pre_dispatch=parallel, **options)
        return
    with _client(scheduler), joblib.parallel_config(backend="dask"):
        yield joblib.Parallel(n_jobs=-1, pre_dispatch="all", **options)


@contextmanager
def _client(scheduler: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise SchedulerError("--scheduler needs the extra `cluster`: pip install 'mtlgrad[cluster]'") from error
    try:
        client = Client(scheduler, timeout=ANSWERS_WITHIN_S)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise SchedulerError(f"--scheduler {scheduler}: no Dask scheduler answers there ({error})") from error
    with client:
        yield client


def _attempt(k: int, job: Job) -> tuple[int, Run | None]:
    """The number goes along because a job comes back from another process as a copy."""
    return k, attempt(job)
