"""What killed processes leave in a folder of results: claims, progress, checkpoints and half-written files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mtlgrad.compare.claims import begun_at, claimed, untouched_s
from mtlgrad.compare.job import Job

_LONGEST_WRITE_S = 1.0


def tidy(jobs: Sequence[Job]) -> None:
    """Remove what is left of runs that are finished and that nobody is making.

    A process that is killed between writing its result and giving back its claim leaves the claim, and nobody would
    look at that run again; one that is killed while it writes leaves a file that ends in `.tmp`.
    """
    if not jobs:
        return
    _tidy_half_written(jobs[0].folder)
    finished: dict[str, bool] = {}
    for job, path in _left(jobs):
        if job.stem not in finished:
            finished[job.stem] = job.finished()
        if finished[job.stem]:
            with claimed(job.claim) as mine:  # a claim of a process that is gone goes with this
                if mine and path != job.claim:
                    with suppress(OSError):
                        path.unlink(missing_ok=True)


def _tidy_half_written(folder: Path) -> None:
    """Remove tables and reports that a launcher was killed over.

    A launcher on another machine may be writing one: its process is not seen here, but it takes far less than a second.
    """
    for path in folder.glob("*.tmp"):
        with suppress(OSError):
            if not _may_be_written(path):
                path.unlink(missing_ok=True)


def _may_be_written(path: Path) -> bool:
    """Whether the process whose number the file is named by is there still, or one elsewhere may be at it."""
    number = path.name.split(".")[-2]
    return not number.isdigit() or begun_at(int(number)) is not None or untouched_s(path) <= _LONGEST_WRITE_S


def _left(jobs: Sequence[Job]) -> Iterator[tuple[Job, Path]]:
    """The files that belong to a run in progress, each with its run."""
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
