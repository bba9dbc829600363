"""From a suite to its runs, tables and report: what the command does, and `mtlgrad.compare.compare` from Python."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from mtlgrad import Method
from mtlgrad.compare.beside import Beside
from mtlgrad.compare.checks import integer
from mtlgrad.compare.consistency import check_made_labels
from mtlgrad.compare.job import Job, jobs_of
from mtlgrad.compare.leftovers import tidy
from mtlgrad.compare.progress import display
from mtlgrad.compare.registry import Registry, located
from mtlgrad.compare.report.page import write_report
from mtlgrad.compare.results import load_results, of_other_settings, read_runs, save_suite
from mtlgrad.compare.rounds import rounds
from mtlgrad.compare.schema import Run, write_atomically
from mtlgrad.compare.stages import unfold
from mtlgrad.compare.suite import Suite, SuiteError
from mtlgrad.compare.sweep import SchedulerError, default_jobs, sweep
from mtlgrad.compare.table import markdown, show, summary


def carry_out(
    chosen: Suite,
    whole: Suite,
    folder: Path,
    console: Console,
    *,
    known: Registry,
    parallel: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
    methods: Mapping[str, type[Method]] | None = None,
    beside: Beside | None = None,
    **settings: Any,
) -> int:
    """Make what is missing of a suite, show what came out.

    Parameters
    ----------
    chosen, whole:
        What is to be run now, of what the folder may hold.
    folder:
        Of the results.
    console:
        Where progress and table go.
    known:
        Where problems are imported from.
    parallel, scheduler:
        As in `sweep`; None: one run per core.
    overwrite:
        Finished results of other settings may be replaced.
    methods:
        The classes of methods that were given as values, by what the suite calls them.
    beside:
        Published figures that may stand beside our own.
    settings:
        Further fields of every job.

    Returns
    -------
    int
        0, 1 when a run failed, 130 after Ctrl-C.

    Raises
    ------
    SuiteError
        A request that cannot be met, in one line.
    TypeError, ValueError
        `parallel` is no int >= 1.
    """
    if parallel is not None:
        integer("jobs", parallel, low=1)

    def jobs_for(some: Suite) -> list[Job]:
        made = jobs_of(some, folder, known=known, **settings)
        return [replace(job, method=(methods or {}).get(job.identity.method)) for job in made]

    def read() -> list[Run]:
        return [run for run in read_runs(folder) if run is not None]

    try:
        check_made_labels(whole)
    except ValueError as error:
        raise SuiteError(str(error)) from error
    check(jobs_for(chosen))  # the rows that are written, before others are made of them
    jobs = jobs_for(unfold(chosen, read(), whole.seeds))
    check([job for job in jobs if job.identity.label not in chosen.labels])
    for job in jobs:
        job.digest_code()  # of the code that is loaded, not of what the tree holds by the end
    others = of_other_settings(folder, whole)
    if others and not overwrite:
        raise SuiteError(
            f"{folder} holds {others} finished results of other settings, to be replaced or left out of the table: "
            "choose another folder with --out, give the suite another name, or say --overwrite "
            "(from Python: out=, name=, overwrite=True)"
        )
    try:
        save_suite(whole, folder)
    except OSError as error:
        raise SuiteError(f"--out {folder.parent}: cannot be written: {error.strerror}") from error
    console.print(whole.title or whole.name, style="bold", markup=False)
    there = sum(job.finished() for job in jobs)
    console.print(f"{len(jobs)} runs, {there} there already; {folder}", style="dim", markup=False, highlight=False)
    outdated = sum(job.outdated() for job in jobs)
    if outdated:
        told = f"{outdated} of those there come from another version of the code: remove them to rerun"
        console.print(f"[yellow]{told}[/]")
        if console.quiet:  # old results are never passed on in silence
            warnings.warn(f"{folder}: {told}", stacklevel=3)  # of the caller of `compare`
    failed = 0
    refused = None
    try:
        for missing in rounds(chosen, read, jobs_for, whole.seeds):  # tuning and controls wait for results
            check(missing)
            refused = None if overwrite else _refusal(missing)
            if refused is not None:
                break
            at_once = max(1, min(parallel or default_jobs(), len(missing)))
            todo = [replace(job, jobs=at_once) for job in missing]
            with _terminated_like_interrupted(), display(console, todo) as shown:
                for job, outcome in sweep(todo, parallel=at_once, scheduler=scheduler, waiting=_Waiting(console)):
                    shown.done(job, outcome)
                    failed += outcome.status == "failed"
    except KeyboardInterrupt:
        print("\nInterrupted. What is done is kept: resume with the same command.", file=sys.stderr)
        return 130
    except SchedulerError as error:
        raise SuiteError(str(error)) from error
    tidy(jobs_for(unfold(chosen, read(), whole.seeds)))
    publish(folder, whole, console, beside)
    if refused is not None:
        raise refused
    if failed:
        print(
            f"{failed} of {len(jobs)} runs failed: their files say why; the same command tries again",
            file=sys.stderr,
        )
    return 1 if failed else 0


def check(jobs: list[Job]) -> None:
    """Every problem and method of the sweep can be made: nobody wants to learn of a typing error an hour in."""
    for job in jobs:
        try:
            job.check()
        except (TypeError, ValueError) as error:
            raise SuiteError(f"{job.identity.label!r} in arm {job.identity.arm!r}: {error}") from error


def _refusal(jobs: list[Job]) -> SuiteError | None:
    """Where finished results would be replaced: settings made from runs are others once the runs are."""
    replaced = [job for job in jobs if job.holds_another()]
    if not replaced:
        return None
    labels = ", ".join(dict.fromkeys(repr(job.identity.label) for job in replaced))
    return SuiteError(
        f"{replaced[0].folder} holds {len(replaced)} finished results of {labels}, whose settings follow from "
        "runs of other rows and are others by now: choose another folder with --out, give the suite another name, "
        "or say --overwrite"
    )


def publish(folder: Path, suite: Suite | None, console: Console, beside: Beside | None = None) -> None:
    """Table on the console; Markdown, JSON and HTML in the folder."""
    results = load_results(folder, suite)
    show(results, console)
    try:
        write_atomically(markdown(results, beside), folder / "table.md")
        write_atomically(summary(results), folder / "summary.json")
        write_report(results, folder / "report.html", beside)
    except OSError as error:
        raise SuiteError(f"{folder}: cannot be written: {error.strerror}") from error
    console.print(f"\n{folder / 'report.html'}", style="bold", markup=False, highlight=False, soft_wrap=True)


def sources(
    suite: Suite, known: Registry, *, beside: Path | None = None, given: Collection[str] = ()
) -> dict[str, str]:
    """Where the suite's problem is imported from, and methods that are in files; SuiteError where they are not.

    What is `given` as a value is not looked for.
    """
    names = [suite.problem, *(row.method for row in suite.methods if ".py:" in row.method)]
    try:
        return {**known, **{name: located(name, known, beside=beside) for name in names if name not in given}}
    except ValueError as error:
        raise SuiteError(str(error)) from error


class _Waiting:
    """Says once that others are at work."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = False

    def __call__(self, count: int) -> None:
        if not self._said:
            self._console.print(f"[dim]waiting for {count} runs that another launcher is making[/]")
        self._said = True


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """A polite kill ends the sweep as Ctrl-C does; otherwise its workers would outlive it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
