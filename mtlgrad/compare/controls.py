"""The controls that settle what a plain comparison leaves open; a suite names them in `controls = [...]`.

- "tuned weights": constant weights and learning rate tuned like every method (needs `[tuning]`; Kurin et al. 2022,
  Xin et al. 2022 found that most methods do no better).
- "single task": one run for each task with its weight alone, as references.
- "random weights": weights drawn anew in every step (Lin et al. 2022).
- "frozen": for every method that ran, constant weights at the average of those that it used, judged against it.
- "noise floor": the baseline's direction, summed from the rows of the Jacobian: only its rounding is another.
- "equal time": for every method that takes longer than the baseline, as many steps as fit in the baseline's time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.compare.schema import Run
from mtlgrad.compare.tuning import Chosen
from mtlgrad.method import Traits

Control = Literal["tuned weights", "single task", "random weights", "frozen", "noise floor", "equal time"]
CONTROLS: tuple[str, ...] = get_args(Control)

STEPS = "steps"
"""The option of a problem that says how long a run is."""

SLOWER = 1.1
"""A method whose step takes up to this many times the baseline's needs no row at equal time."""


@dataclass(frozen=True)
class SumOfGradients(GramAggregator):
    """The plain sum, combined from the rows of J as every Gramian method combines its direction: the noise floor.

    >>> SumOfGradients()(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    tensor([0., 1.])
    """

    traits = Traits(sums_without_conflict=True)

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return torch.ones(len(gram), dtype=gram.dtype, device=gram.device)


NOISE_FLOOR = f"{SumOfGradients.__module__}:{SumOfGradients.__name__}"


def tasks_of(runs: Sequence[Run]) -> list[str] | None:
    """The tasks of the first phase with several that a run tells of; None while nothing tells."""
    return next((phase.tasks for run in runs for phase in run.phases.values()), None)


def frozen(runs: Sequence[Run]) -> Chosen | None:
    """The average weights of these runs of one method, over steps and seeds, as constants.

    None where the method has no weights, or decides in several phases, for which one set of weights cannot stand.
    """
    weights = [phase.weights_mean for run in runs if run.status == "ok" for phase in run.phases.values()]
    if not weights or any(one is None for one in weights) or any(len(run.phases) != 1 for run in runs):
        return None
    mean = np.mean(np.array(weights, dtype=float), axis=0)
    return Chosen(args={"weights": [float(f"{value:.6g}") for value in mean]})


def equal_time(runs: Sequence[Run], baseline: Sequence[Run]) -> Chosen | None:
    """As many steps as the method makes in the time of the baseline's run.

    None where it is no slower, and where the problem is a function that never reads its option `steps`.
    """
    times, base = (
        [run.step_ms.median for run in some if run.status == "ok" and run.step_ms] for some in (runs, baseline)
    )
    steps = next((_asked(run) for run in baseline if run.status == "ok"), None)
    if not times or not base or steps is None or median(times) <= SLOWER * median(base):
        return None
    if any(unread(run, STEPS) for run in (*runs, *baseline)):
        return None
    return Chosen(options={STEPS: max(1, round(steps * median(base) / median(times)))})


def unread(run: Run, option: str) -> bool:
    """Whether it is known that the problem, a function, never asked for an option, which thus had no effect."""
    return run.options_read is not None and option not in run.options_read


def _asked(run: Run) -> int | None:
    """The steps that a run was asked for, in the problem's own measure; where it was asked for none, those it made."""
    made = None if run.metrics is None else run.metrics.final_step
    return run.problem_options.get(STEPS, made)
