"""`compare`: run a suite, or what is missing of it, and show what came out."""

from __future__ import annotations

import argparse
from pathlib import Path

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from rich.console import Console
from rich.markup import escape

from mtlgrad.compare import suite as suites
from mtlgrad.compare.command.arguments import at_least
from mtlgrad.compare.command.console import make_console
from mtlgrad.compare.comparison import carry_out, sources
from mtlgrad.compare.suite import MOST_SEED, SuiteError

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
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster that makes the runs, e.g. tcp://host:8786"
    )
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
        known = [*suites.names(args.suites), "or the path of a .toml file"]
        raise SuiteError(f"which suite? known: {', '.join(known)}")
    path = suites.find(args.suite, args.suites)
    suite = suites.load(path)
    if args.log_with is not None:
        check_tracker(args.log_with)
    whole = suite.restricted(steps=args.steps)
    chosen = whole.restricted(
        methods=None if args.methods is None else parse_labels(args.methods),
        seeds=None if args.seeds is None else parse_seeds(args.seeds),
    )
    return carry_out(
        chosen,
        whole,
        args.out / suite.name,
        console,
        known=sources(suite, args.problems, beside=path.parent),
        parallel=args.jobs,
        scheduler=args.scheduler,
        overwrite=args.overwrite,
        beside=args.beside,
        threads=args.threads,
        tracker=args.log_with,
    )


def check_tracker(name: str) -> None:
    """SuiteError unless accelerate knows the tracker and its package is installed."""
    if name not in LOGGER_TYPE_TO_CLASS:
        raise SuiteError(f"--log-with knows {', '.join(LOGGER_TYPE_TO_CLASS)}; got {name!r}")
    installed = [str(tracker) for tracker in get_available_trackers()]
    if name not in installed:
        raise SuiteError(f"--log-with {name}: not installed; installed: {', '.join(installed) or 'none'}")


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
    if text.strip() == "0":
        raise SuiteError("--seeds 0 is a count of none; for seed 0 alone write --seeds 0,")
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
