"""The command line: `python -m benchmarks COMMAND`."""

from __future__ import annotations

import argparse
import sys
from types import ModuleType

from benchmarks import compare, report_command, solvers, speed, verdicts
from benchmarks.suite import SuiteError

COMMANDS: dict[str, ModuleType] = {
    "compare": compare,
    "report": report_command,
    "solvers": solvers,
    "speed": speed,
    "verdicts": verdicts,
}
"""Each module has HELP, `add_arguments(parser)` and `run(args) -> exit code`."""


def main(argv: list[str] | None = None) -> int:
    """The exit code: 0, 1 when a run failed, 2 for a request that cannot be met, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Comparisons of gradient aggregation.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=module.HELP, description=module.HELP.capitalize() + "."))
    args = parser.parse_args(argv)
    try:
        return int(COMMANDS[args.command].run(args))
    except SuiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
