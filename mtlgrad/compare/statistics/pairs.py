"""Differences paired by seed: what a method scored minus what the baseline scored on the same seed.

What happens to runs without a score is decided here, once, for every statistic:

- *Diverged* runs are results, and the worst there are. No test passes over them: a run that diverged where the other
  one did not counts there as one full range of the arm's finished scores below the worst of them. How bad a diverged
  run is has no number, so this one only keeps it worst: it is in no mean and no interval that anybody is told, and
  `judge` never says "better" or "equivalent" of a method that diverged on a seed which the baseline finished, nor
  "worse" of one against a baseline that diverged where the method did not. Where both diverged, the pair says nothing
  of a difference.
- *Failed* runs (a crash, a full disk) and runs not made are no results. Their pairs are left out, and counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from mtlgrad.compare.statistics.moments import deviation, differences, mean, tied

Direction = Literal["max", "min"]
"""Whether more or less of a metric is better."""

STATUSES = ("ok", "diverged", "failed")


@dataclass(frozen=True)
class Pairs:
    """The differences method - baseline over the seeds that both finished, in the metric's own unit."""

    differences: tuple[float, ...]
    penalties: tuple[float, ...] = ()
    """What the tests take for the differences on seeds where one of the two diverged; no measurements."""
    diverged: int = 0
    """Seeds on which the method diverged and the baseline did not."""
    baseline_diverged: int = 0
    """Seeds on which the baseline diverged and the method did not."""
    both_diverged: int = 0
    """Seeds on which both did."""
    left_out: int = 0
    """Seeds on which one of the two, or both, have no result."""
    baseline_varies: bool = True
    """Whether the baseline's scores differ from seed to seed."""

    @property
    def n(self) -> int:
        """Seeds that both finished."""
        return len(self.differences)

    @property
    def made(self) -> int:
        """Seeds on which both ran to an end, good or bad."""
        return self.n + len(self.penalties) + self.both_diverged

    @property
    def tested(self) -> tuple[float, ...]:
        """What a test looks at: differences and penalties."""
        return (*self.differences, *self.penalties)

    @property
    def mean(self) -> float | None:
        return mean(self.differences) if self.differences else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation (ddof = 1) of the differences; None for fewer than two."""
        return deviation(self.differences) if self.n > 1 else None

    @property
    def identical(self) -> bool:
        """The same score, to rounding, on every one of at least two seeds."""
        return self.n > 1 and not any(self.tested)

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """The two-sided t interval of the mean difference; None for fewer than two seeds.

        >>> low, high = Pairs((1.0, 2.0, 3.0)).interval()
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")
        if self.mean is None or self.std is None:
            return None
        half = float(stats.t.ppf((1 + confidence) / 2, self.n - 1)) * self.std / math.sqrt(self.n)
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Board:
    """One metric in one arm, by seed (rows) and method (columns): made once, then read for every pair of methods."""

    values: pd.DataFrame
    diverged: pd.DataFrame
    ran: pd.DataFrame

    @classmethod
    def of(cls, scores: pd.DataFrame, metric: str, direction: Direction) -> Board:
        """Arguments as for `pairs_of`."""
        values = finished_or_worst(scores, metric, direction).unstack("method")
        indexed = scores.set_index(["seed", "method"])
        status = indexed["status"] if "status" in indexed else pd.Series("ok", indexed.index)
        statuses = status.unstack("method").reindex_like(values)
        return cls(values, statuses.eq("diverged"), statuses.notna())

    def pairs(self, method: str, baseline: str) -> Pairs:
        """The differences method - baseline."""
        one, other = self._column(self.values, method, np.nan), self._column(self.values, baseline, np.nan)
        gone, base_gone = (self._column(self.diverged, name, False) for name in (method, baseline))
        ran = self._column(self.ran, method, False) | self._column(self.ran, baseline, False)
        known = np.isfinite(one) & np.isfinite(other)
        both, either = known & ~gone & ~base_gone, known & (gone != base_gone)
        neither = gone & base_gone
        return Pairs(
            differences=tuple(differences(one[both], other[both]).tolist()),
            penalties=tuple((one[either] - other[either]).tolist()),
            diverged=int((gone & either).sum()),
            baseline_diverged=int((base_gone & either).sum()),
            both_diverged=int(neither.sum()),
            left_out=int((ran & ~both & ~either & ~neither).sum()),
            baseline_varies=len(np.unique(tied(other[both]))) > 1,
        )

    @staticmethod
    def _column(table: pd.DataFrame, name: str, otherwise: float | bool) -> Any:
        return table[name].to_numpy() if name in table else np.full(len(table), otherwise)


def pairs_of(scores: pd.DataFrame, method: str, baseline: str, metric: str, direction: Direction) -> Pairs:
    """Pair a method with the baseline in one arm.

    Arguments
    ---------
    scores:
        One row for each run of the arm: `method`, `seed`, a column for each metric, and `status` ("ok", "diverged" or
        "failed"; without the column every run is ok). A score that is not a finite number counts as none.
    """
    return Board.of(scores, metric, direction).pairs(method, baseline)


def finished_or_worst(scores: pd.DataFrame, metric: str, direction: Direction) -> pd.Series:
    """The scores of one arm by (seed, method), where a diverged run has a number worse than every finished one.

    >>> runs = pd.DataFrame({"method": ["a", "b", "c"], "seed": 0, "status": ["ok", "ok", "diverged"],
    ...                      "accuracy": [80.0, 70.0, None]})
    >>> finished_or_worst(runs, "accuracy", "max").to_list()
    [80.0, 70.0, 60.0]
    """
    if direction not in ("max", "min"):
        raise ValueError(f"direction of {metric!r} must be 'max' or 'min', got {direction!r}")
    check_scores(scores, [metric])
    indexed = scores.set_index(["seed", "method"])
    values = indexed[metric].astype(float)
    values = values.where(np.isfinite(values))
    if "status" not in indexed:
        return values
    values = values.where(indexed["status"] == "ok")
    finished = values.dropna()
    if finished.empty:
        return values
    span = float(finished.max() - finished.min()) or max(abs(float(finished.max())), 1.0)
    worst = float(finished.min()) - span if direction == "max" else float(finished.max()) + span
    return values.mask(indexed["status"] == "diverged", worst)


def check_scores(scores: pd.DataFrame, metrics: Mapping[str, object] | list[str]) -> None:
    """ValueError unless the table has its columns, known statuses, and one run for each method and seed (and arm)."""
    wanted = ["method", "seed", *metrics]
    missing = [name for name in wanted if name not in scores]
    if missing:
        raise ValueError(f"scores must have the columns {', '.join(wanted)}; missing: {', '.join(missing)}")
    if "status" in scores and not scores["status"].isin(STATUSES).all():
        unknown = next(value for value in scores["status"] if value not in STATUSES)
        raise ValueError(f"status must be one of {', '.join(STATUSES)}, got {unknown!r}")
    keys = [name for name in ("arm", "method", "seed") if name in scores]
    twice = scores[scores.duplicated(keys)]
    if not twice.empty:
        run = ", ".join(f"{name} {twice[name].tolist()[0]!r}" for name in keys)
        raise ValueError(f"scores hold two runs of {run}: one run for each method and seed")
