"""`compare`: run a suite, or what is missing of it, and show what came out."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from rich.console import Console
from rich.markup import escape

from mtlgrad.compare import suite as suites
from mtlgrad.compare.command.arguments import at_least
from mtlgrad.compare.command.console import make_console
from mtlgrad.compare.environment import versions
from mtlgrad.compare.progress import display
from mtlgrad.compare.report.page import write_report
from mtlgrad.compare.results import load_results, of_other_settings, read_runs, save_suite
from mtlgrad.compare.run import Job, jobs_of
from mtlgrad.compare.schema import Run, write_atomically
from mtlgrad.compare.stages import rounds, unfold
from mtlgrad.compare.suite import MOST_SEED, Suite, SuiteError
from mtlgrad.compare.sweep import default_jobs, sweep
from mtlgrad.compare.table import markdown, show, summary

MOST_COUNT = 10_000
"""Seeds that a count may ask for: a seed typed without its comma should not become so many runs."""

HELP = "run a suite of methods and seeds, print the table, write the report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", nargs="?", help="name of a suite (see --list), or the path of a .toml file")
    parser.add_argument("--list", action="store_true", help="list the suites and stop")
    parser.add_argument("--methods", metavar="A,B", help="only these labels (and the baseline)")
    parser.add_argument("--seeds", metavar="N|A,B", help="the first N seeds, from 0; or a list of seeds ('3,' for one)")
    parser.add_argument(
        "--steps", type=at_least(1), metavar="N", help="training steps of every run, in place of the suite's"
    )
    parser.add_argument("--jobs", type=at_least(1), metavar="N", help="runs side by side (default: one per core)")
    parser.add_argument("--threads", type=at_least(1), default=1, metavar="N", help="threads of each run (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    parser.add_argument("--overwrite", action="store_true", help="replace finished results of other settings")
    parser.add_argument("--log-with", metavar="NAME", help="tracker known to accelerate, e.g. tensorboard")


def run(args: argparse.Namespace) -> int:
    """Exit code: 0, 1 when a run failed, 130 after Ctrl-C; SuiteError is for the caller to show."""
    console = make_console()
    if args.list:
        list_suites(console, args.suites)
        return 0
    if args.suite is None:
        raise SuiteError(
            f"which suite? known: {', '.join([*suites.names(args.suites), 'or the path of a .toml file'])}"
        )
    suite = suites.load(suites.find(args.suite, args.suites))
    if args.log_with is not None:
        check_tracker(args.log_with)
    whole = suite.restricted(steps=args.steps)
    chosen = whole.restricted(
        methods=None if args.methods is None else parse_labels(args.methods),
        seeds=None if args.seeds is None else parse_seeds(args.seeds),
    )
    parallel = args.jobs or default_jobs()
    folder = args.out / suite.name
    versions(args.problems.get(suite.problem, suite.problem))  # of the code that is loaded, not of what will be there

    def jobs_for(some: Suite) -> list[Job]:
        return jobs_of(some, folder, threads=args.threads, tracker=args.log_with, known=args.problems)

    def read() -> list[Run]:
        return [run for run in read_runs(folder) if run is not None]

    jobs = jobs_for(unfold(chosen, read()))
    check(jobs)
    others = of_other_settings(folder, whole)
    if others and not args.overwrite:
        raise SuiteError(
            f"{folder} holds {others} finished results of other settings, to be replaced or left out of the table: "
            "choose another folder with --out, give the suite another name, or say --overwrite"
        )
    try:
        save_suite(whole, folder)
    except OSError as error:
        raise SuiteError(f"--out {args.out}: cannot be written: {error.strerror}") from error
    console.print(suite.title, style="bold", markup=False)
    there = sum(job.finished() for job in jobs)
    console.print(f"{len(jobs)} runs, {there} there already; {folder}", style="dim", markup=False, highlight=False)
    outdated = sum(job.outdated() for job in jobs)
    if outdated:
        console.print(
            f"[yellow]{outdated} of those there come from another version of the code: remove them to rerun[/]"
        )
    failed = 0
    try:
        for missing in rounds(chosen, read, jobs_for):  # tuning and controls wait for results
            check(missing)
            at_once = max(1, min(parallel, len(missing)))
            todo = [replace(job, jobs=at_once) for job in missing]
            for job in todo:  # what a killed process may have left
                job.live.unlink(missing_ok=True)
            with _terminated_like_interrupted(), display(console, todo) as shown:
                for job, outcome in sweep(todo, parallel=at_once):
                    shown.done(job, outcome)
                    failed += outcome.status == "failed"
    except KeyboardInterrupt:
        print("\nInterrupted. What is done is kept: resume with the same command.", file=sys.stderr)
        return 130
    publish(folder, whole, console)
    if failed:
        print(
            f"{failed} of {len(jobs)} runs failed: their files say why; the same command tries again",
            file=sys.stderr,
        )
    return 1 if failed else 0


def publish(folder: Path, suite: Suite | None, console: Console) -> None:
    """Table on the console; Markdown, JSON and HTML in the folder."""
    results = load_results(folder, suite)
    show(results, console)
    try:
        write_atomically(markdown(results), folder / "table.md")
        write_atomically(summary(results), folder / "summary.json")
        write_report(results, folder / "report.html")
    except OSError as error:
        raise SuiteError(f"{folder}: cannot be written: {error.strerror}") from error
    console.print(f"\n{folder / 'report.html'}", style="bold", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """A polite kill ends the sweep as Ctrl-C does; otherwise its workers would outlive it."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def check_tracker(name: str) -> None:
    """SuiteError unless accelerate knows the tracker and its package is installed."""
    if name not in LOGGER_TYPE_TO_CLASS:
        raise SuiteError(f"--log-with knows {', '.join(LOGGER_TYPE_TO_CLASS)}; got {name!r}")
    installed = [str(tracker) for tracker in get_available_trackers()]
    if name not in installed:
        raise SuiteError(f"--log-with {name}: not installed; installed: {', '.join(installed) or 'none'}")


def check(jobs: list[Job]) -> None:
    """Every problem and method of the sweep can be made: nobody wants to learn of a typing error an hour in."""
    for job in jobs:
        try:
            job.make_problem()
            job.make_method()
        except (TypeError, ValueError) as error:
            raise SuiteError(f"{job.identity.label!r} in arm {job.identity.arm!r}: {error}") from error


def parse_labels(text: str) -> list[str]:
    """A list of labels.

    >>> parse_labels("GH, GH++ (rotation)")
    ['GH', 'GH++ (rotation)']
    """
    labels = [part.strip() for part in text.split(",") if part.strip()]
    if not labels:
        raise SuiteError(f"--methods must be a list of labels such as sum,GH; got {text!r}")
    return labels


def parse_seeds(text: str) -> list[int]:
    """A count or a list.

    >>> parse_seeds("3"), parse_seeds("0,4"), parse_seeds("7,")
    ([0, 1, 2], [0, 4], [7])
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    digits = len(str(MOST_SEED))
    numbers = [int(part) for part in parts if part.isdecimal() and len(part) <= digits]
    listed = "," in text
    allowed = all(n < MOST_SEED for n in numbers) if listed else numbers and 1 <= numbers[0] <= MOST_COUNT
    if not parts or len(numbers) < len(parts) or not allowed:
        shown = text if len(text) <= 40 else text[:37] + "..."
        raise SuiteError(
            f"--seeds must be a count from 1 to {MOST_COUNT} or a list of integers from 0 to 2**63 - 1 such as 0,1; "
            f"got {shown!r}"
        )
    return list(dict.fromkeys(numbers)) if listed else list(range(numbers[0]))


def list_suites(console: Console, folder: Path | None) -> None:
    """Every suite with its methods."""
    for name in suites.names(folder):
        suite = suites.load(suites.find(name, folder))
        runs = len(suite.arms) * len(suite.methods) * len(suite.seeds)
        console.print(f"[bold]{name}[/]  {escape(suite.title)}  [dim]({runs} runs)[/]", highlight=False)
        console.print(f"  [dim]arms[/]    {', '.join(arm.name for arm in suite.arms)}", highlight=False)
        console.print(f"  [dim]methods[/] {escape(', '.join(suite.labels))}", highlight=False)
        console.print(f"  [dim]seeds[/]   {', '.join(map(str, suite.seeds))}", highlight=False)
