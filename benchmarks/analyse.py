"""`analyse`: draw the figures of a folder of results."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtlgrad.compare.results import load_results
from mtlgrad.compare.suite import SuiteError

HELP = "draw what gradients, features and accuracies of domain adaptation did, from a folder of results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="what compare wrote, e.g. results/uda-figures")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: figures, in the folder")
    parser.add_argument("--only", metavar="A,B", help="only these figures, e.g. gradients,time")


def run(args: argparse.Namespace) -> int:
    """Print the path of each figure as it is made."""
    from tasks.uda.analyses.drawing import draw_all  # here: the other commands need no library that draws
    from tasks.uda.analyses.table import ANALYSES

    only = None if args.only is None else [name.strip() for name in args.only.split(",")]
    for name in only or []:
        if name not in ANALYSES:
            raise SuiteError(f"--only must be a list of figures, got {name!r}; known: {', '.join(ANALYSES)}")
    out = args.out or args.folder / "figures"
    results = load_results(args.folder)
    try:
        for path in draw_all(results, out, only=only):
            print(path, flush=True)
    except OSError as error:
        raise SuiteError(f"{out}: cannot be written: {error.strerror}") from error
    return 0
