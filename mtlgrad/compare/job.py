"""A run that is to be made: which one, by which code, and where its files go."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtlgrad import Method
from mtlgrad.compare.environment import code_digest, own_digest, versions
from mtlgrad.compare.fit import check_fit
from mtlgrad.compare.labels import slug
from mtlgrad.compare.registry import Found, Registry, find_problem, make_method, make_problem
from mtlgrad.compare.schema import Identity, Run, read_run
from mtlgrad.compare.suite import Suite


@dataclass(frozen=True)
class Job:
    """One run to be made, and where its files go."""

    identity: Identity
    folder: Path
    threads: int = 1
    jobs: int = 1
    tracker: str | None = None
    known: Registry = field(default_factory=dict)
    """The problems that have a name, or are in a file, with where they are imported from."""
    problem: Found | None = None
    """The problem itself, where it was given as a value; None: it is imported."""
    method: type[Method] | None = None
    """Likewise the class of the method."""
    metrics: tuple[str, ...] = ()
    """What the problem must give, the main metric first."""

    @property
    def source(self) -> str:
        """Where the problem is imported from."""
        return self.known.get(self.identity.problem, self.identity.problem)

    @property
    def method_source(self) -> str:
        """The method's name in the catalog, or where it is imported from."""
        return self.known.get(self.identity.method, self.identity.method)

    @property
    def method_code(self) -> str | None:
        """Digest of the sources of a method of one's own."""
        return own_digest(self.method_source) if ":" in self.method_source else None

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
    def claim(self) -> Path:
        """There while somebody makes the run."""
        return self.folder / "claims" / f"{self.stem}.json"

    @property
    def checkpoint(self) -> Path:
        """Named after options and code: a run goes on only with what it began with."""
        code = code_digest(self.source) + (self.method_code or "")
        return self.folder / "checkpoints" / f"{self.stem}-{self.identity.digest}-{code}.pt"

    def finished(self) -> bool:
        """Whether a valid result of exactly this run is there. A failed one is not: it is worth another try."""
        return self.found() is not None

    def found(self) -> Run | None:
        """The valid result of exactly this run, if it is there."""
        run = self._there()
        return run if run is not None and run.digest == self.identity.digest else None

    def holds_another(self) -> bool:
        """Whether a finished result of other settings is in its place."""
        run = self._there()
        return run is not None and run.digest != self.identity.digest

    def _there(self) -> Run | None:
        try:
            run = read_run(self.result)
        except (OSError, ValueError):
            return None
        return run if run.status != "failed" else None

    def outdated(self) -> bool:
        """Whether the result that is there was made by another version of the code than would run now."""
        run = self.found()
        code = (code_digest(self.source), self.method_code)
        return run is not None and (run.versions.code, run.method_code) != code

    def digest_code(self) -> None:
        """Now: by the end of a long run the files may hold other code than was loaded."""
        versions(self.source)
        _ = self.method_code

    def check(self) -> None:
        """TypeError or ValueError unless problem and method can be made and, as far as is known, fit each other."""
        method, problem = self.make_method(), self.find_problem()
        if isinstance(problem, type):
            check_fit(make_problem(problem, self.identity.problem_options, name=self.identity.problem), method)

    def find_problem(self) -> Found:
        return find_problem(self.identity.problem, self.known) if self.problem is None else self.problem

    def make_method(self) -> Method:
        if self.method is not None:
            return self.method(**self.identity.method_args)
        return make_method(self.method_source, self.identity.method_args)


def jobs_of(suite: Suite, folder: Path, **shared: Any) -> list[Job]:
    """All runs of a suite, seed by seed, so that an early look at the results has every method."""
    return [Job(identity, folder, metrics=tuple(suite.metrics), **shared) for identity in suite.identities()]
