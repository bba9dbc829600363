"""The command line of a checkout, `python -m benchmarks COMMAND`: `mtlgrad`, which here knows problems and suites."""

from __future__ import annotations

from pathlib import Path

from benchmarks import analyse, check, memory, paper, solvers, speed, verdicts
from mtlgrad.compare import command
from mtlgrad.compare.command.main import COMMANDS as INSTALLED
from mtlgrad.compare.schema import Run
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
SUITES = Path(__file__).parent / "suites"


def main(argv: list[str] | None = None) -> int:
    """The exit code: 0, 1 when a run failed, 2 for a request that cannot be met, 130 after Ctrl-C."""
    return command.main(
        argv, prog="python -m benchmarks", commands=COMMANDS, problems=PROBLEMS, suites=SUITES, beside=published
    )


def published(run: Run) -> float | None:
    """The paper's figure for a run, where data and protocol are the same."""
    return paper.beside(
        suite=run.suite,
        arm=run.arm,
        problem_options={**run.all_problem_options, **run.problem_options},
        method=run.method,
        method_args=run.method_args,
    )


if __name__ == "__main__":
    raise SystemExit(main())
