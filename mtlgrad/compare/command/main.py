"""Parses a command line and runs the command it names."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from mtlgrad.compare.beside import Beside
from mtlgrad.compare.command import compare, methods, report
from mtlgrad.compare.registry import Registry
from mtlgrad.compare.suite import SuiteError

COMMANDS: dict[str, ModuleType] = {"compare": compare, "report": report, "methods": methods}
"""Each module has HELP, `add_arguments(parser)` and `run(args) -> exit code`."""


def main(
    argv: list[str] | None = None,
    *,
    prog: str = "mtlgrad",
    commands: Mapping[str, ModuleType] = COMMANDS,
    problems: Registry | None = None,
    suites: Path | None = None,
    beside: Beside | None = None,
) -> int:
    """Run a command.

    Parameters
    ----------
    argv:
        None: the process's.
    prog:
        How the program is called.
    commands:
        By name.
    problems:
        The problems that a suite may call by name; others are found at their import path.
    suites:
        A folder of suites that may be called by name; others are found at their path.
    beside:
        Published figures that may stand beside our own.

    Returns
    -------
    int
        The exit code: 0, 1 when a run failed or the reader of the output is gone, 2 for a request that cannot be met,
        130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog=prog, description="Comparisons of gradient aggregation.")
    parser.set_defaults(problems=dict(problems or {}), suites=suites, beside=beside)
    named = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in commands.items():
        module.add_arguments(named.add_parser(name, help=module.HELP, description=module.HELP.capitalize() + "."))
    args = parser.parse_args(argv)
    try:
        code = int(commands[args.command].run(args))
        sys.stdout.flush()  # here, where a reader that has gone can still be told from a failure
    except BrokenPipeError:  # `mtlgrad methods | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python flushes at its exit goes nowhere
        return 1  # as Rich ends there
    except SuiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return code
