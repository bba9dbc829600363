"""Any problem, honestly compared: methods, seeds, runs, verdicts. Needs the extra `compare`.

problem.py     what is trained and judged: `Problem` and its `Phase`s
loop.py        the training loop; history.py, checkpoints.py and interrupts.py are its parts
suite.py       which methods are compared on what; registry.py finds the problem
run.py         where a run is made; record.py and schema.py are the file that it leaves
sweep.py       many runs, side by side
results.py     a folder of runs, read back; rows.py and table.py make its table
report/        the page and its pictures
command/       the command line, `mtlgrad`
"""

from mtlgrad.compare.problem import Phase, Problem

__all__ = ["Phase", "Problem"]
