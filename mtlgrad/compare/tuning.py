"""Equal tuning: every method gets the same number of trials over the search space that it declares itself.

A trial is a point of a low-discrepancy sequence (SciPy's scrambled Halton), its first coordinate the learning rate, the
others the method's hyperparameters; it is run on the tuning seeds and judged by its mean validation score, which sees
no test score and no seed of the comparison. What is chosen runs on the fresh seeds of the suite, as a row of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.stats import qmc

from mtlgrad import catalog
from mtlgrad.compare.options import Options
from mtlgrad.compare.registry import imported
from mtlgrad.compare.schema import Run
from mtlgrad.spaces import LogUniform, Space


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LearningRate(_Strict):
    """Which option of the problem it is, and from where to where it is looked for, on a logarithmic scale."""

    option: str
    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _ordered(self) -> LearningRate:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got low={self.low} and high={self.high}")
        return self


class Tuning(_Strict):
    """The budget of every row, and what all of them are tuned on."""

    trials: Annotated[int, Field(ge=2)]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    """Of the trials; the seeds of the comparison must be others."""
    learning_rate: LearningRate


class Chosen(_Strict):
    """What one arm gives a row instead of, or beside, its own settings."""

    args: Options = {}
    options: Options = {}


def space_of(method: str, args: Options) -> dict[str, Space]:
    """What is searched of a method: what it declares, less what the suite's row sets itself."""
    if ":" in method:  # one's own, by import path
        searched = imported(method).search_space
    else:
        kind = catalog.entry(method).make
        space = getattr(kind, "search_space", {})  # a wrapper's depends on what it holds
        searched = space if isinstance(space, Mapping) else catalog.make(method, **args).search_space
    return {name: space for name, space in searched.items() if name.partition(".")[0] not in args or "." in name}


def trials_of(tuning: Tuning, method: str, args: Options, m: int) -> list[Chosen]:
    """The settings of every trial of one row, for `m` tasks.

    >>> rate = LearningRate(option="lr", low=0.001, high=0.1)
    >>> first, second = trials_of(Tuning(trials=2, seeds=[100], learning_rate=rate), "cagrad", {}, m=3)
    >>> sorted(first.args), 0.001 <= first.options["lr"] <= 0.1, first == second
    (['c'], True, False)
    """
    spaces = space_of(method, args)
    sizes = [space.size(m) for space in spaces.values()]
    points = qmc.Halton(1 + sum(sizes), scramble=True, rng=0).random(tuning.trials)
    rate = LogUniform(tuning.learning_rate.low, tuning.learning_rate.high)
    found = []
    for point in points:
        at, new = 1, dict(args)
        for (name, space), size in zip(spaces.items(), sizes, strict=True):
            _put(new, name, space.at(point[at : at + size].tolist()))
            at += size
        found.append(Chosen(args=new, options={tuning.learning_rate.option: _short(rate.at(point[:1].tolist()))}))
    return found


def scores_of_trials(trials: Sequence[Sequence[Run]]) -> list[float | None]:
    """The mean validation score of every trial; None for one of which a run did not end well or has no score."""
    return [math.fsum(values) / len(values) if (values := _validations(runs)) is not None else None for runs in trials]


def best_of(scores: Sequence[float | None]) -> int | None:
    """Which trial has the highest score, the first of equals; None where none has one.

    >>> best_of([None, 1.0, 2.0, 2.0]), best_of([None])
    (2, None)
    """
    known = [(score, -k) for k, score in enumerate(scores) if score is not None]
    return -max(known)[1] if known else None


def _validations(runs: Sequence[Run]) -> list[float] | None:
    values = [run.metrics.final_validation if run.status == "ok" and run.metrics else None for run in runs]
    return None if not values or None in values else [value for value in values if value is not None]


def _put(args: Options, name: str, value: Any) -> None:
    """Set a hyperparameter; "inner.c" goes into the table of the method inside."""
    if isinstance(value, tuple):
        value = [_short(one) for one in value]
    elif isinstance(value, float):
        value = _short(value)
    outer, _, rest = name.partition(".")
    if not rest:
        args[outer] = value
        return
    inner = args.get(outer)
    table = dict(inner) if isinstance(inner, Mapping) else {"method": inner}
    _put(table, rest, value)
    args[outer] = table


def _short(value: Any) -> Any:
    """Six digits are enough to look for, and are the same in every file."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
