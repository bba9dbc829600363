"""The command line of a checkout, `python -m benchmarks COMMAND`: `mtlgrad`, which here knows problems and suites."""

from __future__ import annotations

from benchmarks import analyse, check, memory, paper, solvers, speed, verdicts
from mtlgrad.compare import command
from mtlgrad.compare.command.main import COMMANDS as INSTALLED
from tasks.registry import PROBLEMS

COMMANDS = {
    **INSTALLED,
    "analyse": analyse,
    "check": check,
    "memory": memory,
    "solvers": solvers,
    "speed": speed,
    "verdicts": verdicts,
}
SUITES = paper.SUITES


def main(argv: list[str] | None = None) -> int:
    """The exit code: 0, 1 when a run failed, 2 for a request that cannot be met, 130 after Ctrl-C."""
    return command.main(
        argv, prog="python -m benchmarks", commands=COMMANDS, problems=PROBLEMS, suites=SUITES, beside=paper.beside
    )


if __name__ == "__main__":
    raise SystemExit(main())
