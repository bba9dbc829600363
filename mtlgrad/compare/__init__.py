"""Any problem, honestly compared: methods, seeds, runs, verdicts. Needs the extra `compare`.

api.py           `compare`, from Python; command/ is the command line, `mtlgrad`
comparison.py    from a suite to its runs, table and report
problem.py       a problem with phases: `Problem`; function.py: a problem that is a function
suite.py         which methods are compared on what; registry.py finds problems and methods
run.py           where a run is made; record.py and schema.py are the file that it leaves
environment.py   with which code and machine; sources.py finds the files, fingerprint.py digests what stands in none
places.py        what results call functions and classes that are given as values; options.py: what options may hold
loop.py          the training loop; training.py, history.py, checkpoints.py and interrupts.py are its parts
sweep.py         many runs, side by side; claims.py decides which launcher makes which
results.py       a folder of runs, read back; rows.py and table.py make its table
statistics/      where a verdict is made
report/          where a picture is made, and the page
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mtlgrad.compare.parts import own_part
from mtlgrad.compare.problem import Outline, Phase, Problem

if TYPE_CHECKING:
    from mtlgrad.compare.api import compare
    from mtlgrad.compare.function import FunctionRun

__all__ = ["FunctionRun", "Outline", "Phase", "Problem", "compare", "own_part"]


def __getattr__(name: str) -> Any:
    """`compare` and what it needs (tables, pages, processes) are imported when asked for: problems need none of it."""
    if name == "compare":
        from mtlgrad.compare.api import compare

        return compare
    if name == "FunctionRun":
        from mtlgrad.compare.function import FunctionRun

        return FunctionRun
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
