"""`methods`: what can be compared."""

from __future__ import annotations

import argparse

from rich.table import Table
from rich.text import Text

from mtlgrad import catalog
from mtlgrad.compare.command.console import make_console

HELP = "list the methods of the catalog, by the names that suites use"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--names", action="store_true", help="the names alone, one a line")


def run(args: argparse.Namespace) -> int:
    """Name, claim, paper and what is read, a line a method."""
    if args.names:
        print("\n".join(catalog.CATALOG))
        return 0
    table = Table("name", "in one line", "paper", "reads")
    for entry in catalog.CATALOG.values():
        claim = (type(entry.method).__doc__ or "").split("\n")[0].rstrip(".")
        cells = (entry.name, claim, f"{entry.paper} {entry.year}", entry.method.reads)
        table.add_row(*(Text(cell) for cell in cells))
    make_console().print(table)
    return 0
