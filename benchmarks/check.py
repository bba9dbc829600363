"""`check`: whether the present code would still give the committed results.

The digest of the sources changes with every comment; results do not. So beside each committed summary lie the
fingerprints of short runs, one for every row in every arm: their metrics after a few steps. Where the present code
gives others, by more than machines differ whose sums are in another order, the committed result is of other code.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.progress import track

from mtlgrad.compare.comparison import sources
from mtlgrad.compare.job import jobs_of
from mtlgrad.compare.run import attempt
from mtlgrad.compare.schema import write_atomically
from mtlgrad.compare.suite import Suite, SuiteError, find, load, names

RESULTS = Path(__file__).parent / "results"
PROBES = "probes.json"
STEPS = 3
DIGITS = 4
TOLERANCE = 0.01
"""Of a metric's size: on two kinds of processor, the same code came to accuracies .65 % apart after these few steps."""

HELP = "say which committed results were made by code whose results would differ"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="SUITE", help="default: every committed one with probes")
    parser.add_argument("--write", action="store_true", help="keep the fingerprints of the present code: after a rerun")


def run(args: argparse.Namespace) -> int:
    """Exit code: 1 where a result would differ."""
    committed = args.names or sorted(path.parent.name for path in RESULTS.glob(f"*/{PROBES}"))
    unknown = [name for name in committed if name not in names(args.suites)]
    if unknown:
        raise SuiteError(f"unknown suite {unknown[0]!r}; known: {', '.join(names(args.suites))}")
    stale = 0
    for name in committed:
        suite = load(find(name, args.suites))
        now = fingerprints(suite, args.problems)
        path = RESULTS / name / PROBES
        if args.write:
            write_atomically(json.dumps(now, indent=1, ensure_ascii=False) + "\n", path)
            continue
        for line in differing(read(path), now):
            stale += 1
            print(f"{name}: {line}")
    if not args.names:
        for path in sorted(RESULTS.glob("*/summary.json")):
            if path.parent.name not in committed:
                print(f"{path.parent.name}: no probes were kept with it: whether its results would differ is not known")
    if stale:
        print("run these suites again, commit their tables, then: python -m benchmarks check --write SUITE")
    return 1 if stale else 0


def fingerprints(suite: Suite, problems: dict[str, str]) -> dict[str, str]:
    """ "arm, label" to what a run of a few steps comes to, by the first seed."""
    short = suite.restricted(steps=STEPS, seeds=suite.seeds[:1]).model_copy(update={"evaluate_every": STEPS})
    with tempfile.TemporaryDirectory() as folder:
        jobs = jobs_of(short, Path(folder), known=sources(short, problems))
        return {
            f"{job.identity.arm}, {job.identity.label}": _fingerprint(attempt(job))
            for job in track(jobs, description=suite.name, transient=True)
        }


def _fingerprint(made: object) -> str:
    metrics = getattr(made, "metrics", None)
    if metrics is None:
        return str(getattr(made, "status", "none"))
    numbers = (f"{name} {value:.{DIGITS}g}" for name, value in sorted(metrics.final.items()) if value is not None)
    return "; ".join(numbers)


def read(path: Path) -> dict[str, str]:
    """The committed fingerprints; SuiteError where there are none."""
    try:
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SuiteError(f"{path.parent.name}: no {PROBES} can be read: python -m benchmarks check --write") from error
    return found


def differing(before: dict[str, str], now: dict[str, str]) -> Iterator[str]:
    """A line for each row whose result would differ, or that only one side has.

    >>> list(differing({"all, sum": "loss 1", "all, GH": "loss 2"}, {"all, sum": "loss 1.001", "all, GH": "loss 3"}))
    ['all, GH: loss 2 when committed, loss 3 now']
    """
    for key in sorted({*before, *now}):
        if not alike(before.get(key, "nothing"), now.get(key, "nothing")):
            yield f"{key}: {before.get(key, 'nothing')} when committed, {now.get(key, 'nothing')} now"


def alike(before: str, now: str) -> bool:
    """Whether all metrics of the first fingerprint are within `TOLERANCE`; or both say the same where there are none.

    >>> alike("accuracy 16.15; mmd 0.29", "accuracy 16.2; mmd 0.29"), alike("mmd 0.29", "mmd 0.31")
    (True, False)
    >>> alike("failed", "mmd 0.29"), alike("failed", "failed")
    (False, True)
    """
    old, new = (dict(part.rpartition(" ")[::2] for part in text.split("; ")) for text in (before, now))
    if not old.keys() <= new.keys() or "" in old:
        return before == now
    return all(math.isclose(float(old[name]), float(new[name]), rel_tol=TOLERANCE) for name in old)
