"""What has to be run next, round after round: some rows are made of what others came to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from mtlgrad.compare.schema import Identity, Run
from mtlgrad.compare.stages import unfold
from mtlgrad.compare.suite import Suite


class _Job(Protocol):
    @property
    def identity(self) -> Identity: ...

    def finished(self) -> bool: ...


_J = TypeVar("_J", bound=_Job)


def rounds(
    suite: Suite,
    read: Callable[[], Iterable[Run]],
    jobs: Callable[[Suite], Sequence[_J]],
    seeds: Sequence[int] | None = None,
) -> Iterator[list[_J]]:
    """The jobs to be made now, again and again until none is left. What failed is not tried twice.

    Arguments: the suite as it is written; `read` gives the runs that are there, `jobs` all jobs of an unfolded suite;
    `seeds` as in `unfold`.
    """
    tried: set[tuple[str, str, int, str]] = set()
    while True:
        # a trial that failed for an earlier command gets its second try before anything is chosen without it
        there = [run for run in read() if run.status != "failed" or _key(run) in tried]
        todo = []
        for job in jobs(unfold(suite, there, seeds)):
            if _key(job.identity) not in tried and not job.finished():
                todo.append(job)
                tried.add(_key(job.identity))
        if not todo:
            return
        yield todo


def _key(run: Identity) -> tuple[str, str, int, str]:
    return run.arm, run.label, run.seed, run.digest
