"""Many runs, side by side, each written as soon as it ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import joblib
import torch

from mtlgrad.compare.run import Job, execute
from mtlgrad.compare.schema import Run


def default_jobs() -> int:
    """One run per core; one at a time where an accelerator does the work."""
    return 1 if torch.cuda.is_available() else int(joblib.cpu_count())


def sweep(jobs: Sequence[Job], *, parallel: int) -> Iterator[tuple[Job, Run]]:
    """Make every run; yields each one as it ends, in any order.

    On an interrupt a run leaves a checkpoint behind, which the next sweep over the same folder goes on from: of the
    step it was at where runs are made one at a time, else of the last half minute, as workers may be ended at once.
    """
    if parallel == 1 or len(jobs) <= 1:
        for job in jobs:
            yield job, execute(job)
        return
    threads = max(job.threads for job in jobs)
    with joblib.parallel_config(backend="loky", inner_max_num_threads=threads):
        runner = joblib.Parallel(n_jobs=parallel, return_as="generator_unordered", batch_size=1, pre_dispatch=parallel)
        yield from runner(joblib.delayed(_execute)(job) for job in jobs)


def _execute(job: Job) -> tuple[Job, Run]:
    return job, execute(job)
