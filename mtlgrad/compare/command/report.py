"""`report`: make table and report again from a folder of results."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtlgrad.compare.command.console import make_console
from mtlgrad.compare.comparison import publish

HELP = "make table and report again from a folder of results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="what compare wrote, e.g. results/quickstart")


def run(args: argparse.Namespace) -> int:
    publish(args.folder, None, make_console(), args.beside)
    return 0
