"""What killed processes leave in a folder of results: claims, progress, checkpoints and half-written files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mtlgrad.compare.claims import claimed
from mtlgrad.compare.run import Job


def tidy(jobs: Sequence[Job]) -> None:
    """Remove what is left of runs that are finished and that nobody is making.

    A process that is killed between writing its result and giving back its claim leaves the claim, and nobody would
    look at that run again; one that is killed while it writes leaves a file that ends in `.tmp`.
    """
    finished: dict[str, bool] = {}
    for job, path in _left(jobs):
        if job.stem not in finished:
            finished[job.stem] = job.finished()
        if finished[job.stem]:
            with claimed(job.claim) as mine:  # a claim of a process that is gone goes with this
                if mine and path != job.claim:
                    with suppress(OSError):
                        path.unlink(missing_ok=True)


def _left(jobs: Sequence[Job]) -> Iterator[tuple[Job, Path]]:
    """The files that belong to a run in progress, each with its run."""
    if not jobs:
        return
    by_stem = {job.stem: job for job in jobs}
    folder = jobs[0].folder
    for part in ("claims", "live", "checkpoints", "runs"):
        try:
            paths = sorted((folder / part).iterdir())
        except OSError:
            continue
        for path in paths:
            if part == "runs" and path.suffix != ".tmp":
                continue
            # a checkpoint has digests after the stem, any other file a dot
            stem = path.name.rsplit("-", 2)[0] if part == "checkpoints" else path.name.split(".json")[0]
            if stem in by_stem:
                yield by_stem[stem], path
