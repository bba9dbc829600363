"""`paper`: the figures of a folder of results beside the paper's, where data and protocol are the same."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.table import Table
from rich.text import Text

from benchmarks.paper import beside
from mtlgrad.compare.command.console import make_console
from mtlgrad.compare.results import Results, load_results

HELP = "a folder of results beside the paper's figures, where data and protocol are the same"

NOTHING = "No figure of the paper is of the same data and protocol as a run here."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="what compare wrote, e.g. results/office31")


def pairs(results: Results) -> list[tuple[str, str, str, float]]:
    """Arm, row, our mean with its deviation, and the paper's figure, for each cell that may stand beside one."""
    suite = results.suite
    found = []
    for arm in suite.arms:
        rows = {row.label: row for row in results.rows[arm.name]}
        for method in suite.methods:
            figure = beside(
                suite=suite.name,
                arm=arm.name,
                problem_options=suite.options_of(arm, method),
                method=method.method,
                method_args=method.args,
            )
            row = rows.get(method.label)
            if figure is not None and row is not None and row.final is not None:
                spread = "" if row.final.std is None else f" ± {row.final.std:.1f}"
                found.append((arm.title, method.label, f"{row.final.mean:.1f}{spread}", figure))
    return found


def run(args: argparse.Namespace) -> int:
    console = make_console()
    found = pairs(load_results(args.folder))
    if not found:
        console.print(NOTHING)
        return 0
    table = Table(box=None, header_style="dim")
    for number, heading in enumerate(("arm", "method", "here", "paper")):
        table.add_column(heading, justify="right" if number > 1 else "left")
    for arm, label, ours, figure in found:
        table.add_row(Text(arm), Text(label), ours, f"{figure:.1f}")
    console.print(table)
    return 0
