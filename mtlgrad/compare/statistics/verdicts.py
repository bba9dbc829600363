"""The place where a verdict is made: *better*, *worse*, *equivalent* or *undecided*.

The rule, and the errors it allows
----------------------------------
Every method is compared with the baseline (or with another method named for it), paired by seed, on every metric of
every arm that was asked about; K is the number of all these comparisons, the ones that cannot be computed (one seed)
included.

- *better*, *worse*: the two-sided paired t-test, corrected by Holm over all K. If no method differed from the baseline,
  the probability that anything at all is called better or worse is at most `level`. A claim in the wrong direction
  counts as such an error too (Shaffer 1980 proves it for independent tests; for the correlated ones of a shared
  baseline it is measured in `benchmarks/results/verdicts`).
- *equivalent*: two one-sided t-tests within the declared margin, corrected by Holm over the same K, in a family of
  their own. The probability that anything which differs by the margin or more is called equivalent is at most `level`.

Both families together therefore err with probability at most 2 * `level`; each kind of claim by itself keeps `level`.
Where both tests reject (a difference that is surely there, and surely smaller than the margin) the word is
*equivalent*: the margin says that such a difference does not matter. Without a margin no method is ever equivalent.

The t-test assumes differences that are roughly normal; with few seeds that is an assumption, not a finding. The
intervals are those of a single comparison, so that one may exclude zero where the word, which answers for all K
comparisons at once, is *undecided*.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from mtlgrad.compare.statistics.moments import deviation, mean
from mtlgrad.compare.statistics.pairs import Board, Direction, Pairs, check_scores
from mtlgrad.compare.statistics.significance import (
    difference_p,
    equivalence_p,
    holm,
    seeds_for_difference,
    seeds_for_equivalence,
)

Word = Literal["better", "worse", "equivalent", "undecided"]

LEVEL = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Verdict:
    """What can be said of one method against the baseline on one metric of one arm."""

    arm: str
    method: str
    baseline: str
    metric: str
    word: Word
    pairs: Pairs
    margin: float | None
    comparisons: int
    """How many were asked: the K over which Holm corrects."""
    difference_p: float | None
    """Adjusted p-value of "there is a difference"; None where there is no test."""
    equivalence_p: float | None
    """Adjusted p-value of "any difference is smaller than the margin"; None without a margin or a test."""
    reason: str
    """What stands in the way of a word, or what has to be known with it; empty where nothing has."""
    level: float
    power: float

    @property
    def seeds_to_decide(self) -> int | None:
        """Of an undecided one: how many seeds would decide it, with probability `power`, at the observed spread.

        With a margin: enough to find a difference as large as the margin, and to show that there is none if there is
        none. Without one: enough to find the difference that was observed, which is itself uncertain. The tests are
        taken at `level` / `comparisons`, the strictest of Holm's steps. None where it is decided, where there is no
        spread to go by, where a run diverged, and where no number within reach is enough.
        """
        pairs, level = self.pairs, self.level / self.comparisons
        if self.word != "undecided" or pairs.penalties or pairs.mean is None or not pairs.std:
            return None
        if not math.isfinite(pairs.std):
            return None
        if self.margin is None:
            found = seeds_for_difference(pairs.mean / pairs.std, level=level, power=self.power)
        else:
            different = seeds_for_difference(self.margin / pairs.std, level=level, power=self.power)
            same = seeds_for_equivalence(self.margin / pairs.std, level=level, power=self.power)
            found = None if different is None or same is None else max(different, same)
        return None if found is None else max(found, pairs.n + 1)  # these many were not enough


def judge(
    scores: pd.DataFrame,
    *,
    baseline: str,
    metrics: Mapping[str, Direction],
    margins: Mapping[str, float] | None = None,
    methods: Iterable[str] | None = None,
    against: Mapping[str, str] | None = None,
    level: float = LEVEL,
    power: float = POWER,
) -> list[Verdict]:
    """Compare every method with the baseline, on every metric of every arm, as one family.

    Arguments
    ---------
    scores:
        One row for each run: `method`, `seed`, a column for each metric, and, where there are several, `arm` and
        `status` ("ok", "diverged", "failed"). `mtlgrad.compare.statistics.pairs` says how runs without a score count.
    metrics:
        Name to direction: "max" where more is better, "min" where less is.
    margins:
        Name of a metric to the smallest difference that matters, in the metric's unit. Metrics without one are never
        called equivalent.
    methods:
        Which methods are asked about: all but the baseline by default. Those of which there is no run count as asked.
    against:
        Method to the one that it is compared with in place of the baseline.
    level:
        The probability allowed for each kind of wrong claim over the whole family.
    power:
        With which probability the number of seeds given for an undecided comparison would decide it.

    >>> runs = pd.DataFrame({"method": ["sum"] * 5 + ["gh"] * 5, "seed": [*range(5)] * 2,
    ...                      "accuracy": [80.1, 79.2, 81.0, 80.4, 79.9, 83.0, 82.3, 83.6, 83.5, 82.4]})
    >>> verdict, = judge(runs, baseline="sum", metrics={"accuracy": "max"})
    >>> verdict.word, round(verdict.pairs.mean, 2), verdict.comparisons
    ('better', 2.84, 1)
    """
    margins, against = dict(margins or {}), dict(against or {})
    check_scores(scores, metrics)
    _check_arguments(metrics, margins, level, power)
    if "arm" not in scores:
        scores = scores.assign(arm="")
    if baseline not in set(scores["method"]):
        known = ", ".join(map(str, scores["method"].unique()))
        raise ValueError(f"baseline must be one of the methods ({known}), got {baseline!r}")
    asked = [name for name in (scores["method"].unique() if methods is None else methods) if name != baseline]
    boards = {
        (arm, metric): Board.of(part, metric, direction)
        for arm, part in scores.groupby("arm", sort=False)
        for metric, direction in metrics.items()
    }
    compared = [
        (arm, method, metric, board.pairs(method, against.get(method, baseline)))
        for (arm, metric), board in boards.items()
        for method in asked
    ]
    differ = _adjusted([_difference_p(pairs) for *_, pairs in compared])
    equal = _adjusted([_equivalence_p(pairs, margins.get(metric)) for _, _, metric, pairs in compared])
    return [
        _verdict(
            arm=str(arm),
            method=method,
            baseline=against.get(method, baseline),
            metric=metric,
            pairs=pairs,
            direction=metrics[metric],
            margin=margins.get(metric),
            p_values=(differ[k], equal[k]),
            comparisons=len(compared),
            level=level,
            power=power,
        )
        for k, (arm, method, metric, pairs) in enumerate(compared)
    ]


def _verdict(
    *,
    arm: str,
    method: str,
    baseline: str,
    metric: str,
    pairs: Pairs,
    direction: Direction,
    margin: float | None,
    p_values: tuple[float | None, float | None],
    comparisons: int,
    level: float,
    power: float,
) -> Verdict:
    differ, equal = p_values
    word: Word = "undecided"
    reason = _obstacle(pairs, margin)
    gone = pairs.diverged > 0 or pairs.baseline_diverged > 0
    if equal is not None and equal <= level and not gone:
        word = "equivalent"
    elif differ is not None and differ <= level:
        word = "better" if (mean(pairs.tested) > 0) == (direction == "max") else "worse"
        if (word == "better" and pairs.diverged) or (word == "worse" and pairs.baseline_diverged):
            word = "undecided"
    return Verdict(arm, method, baseline, metric, word, pairs, margin, comparisons, differ, equal, reason, level, power)


def _obstacle(pairs: Pairs, margin: float | None) -> str:
    notes = []
    if pairs.made == 0:
        notes.append("no seed that both have")
    elif pairs.n == 0:
        notes.append("no seed that both finished")
    elif len(pairs.tested) == 1:
        notes.append("one seed has no spread")
    elif pairs.identical:
        notes.append(
            "identical on every seed" + ("; declare a margin to call that equivalent" if margin is None else "")
        )
    elif pairs.std == 0 and not pairs.penalties:
        notes.append("the same difference on every seed, so its spread is unknown")
    elif not math.isfinite(deviation(pairs.tested)):
        notes.append("differences too large for a spread")
    for count, who in (
        (pairs.diverged, "diverged"),
        (pairs.baseline_diverged, "the baseline diverged"),
        (pairs.both_diverged, "both diverged"),
    ):
        if count:
            notes.append(f"{who} on {count} of {pairs.made} seeds")
    if pairs.left_out:
        notes.append(f"{pairs.left_out} seed{'s' * (pairs.left_out > 1)} left out, without a result of both")
    return "; ".join(notes)


def _difference_p(pairs: Pairs) -> float | None:
    known = _moments(pairs)
    return None if known is None else difference_p(*known, len(pairs.tested))


def _equivalence_p(pairs: Pairs, margin: float | None) -> float | None:
    known = _moments(pairs)
    if margin is None or known is None:
        return None
    if pairs.identical and pairs.baseline_varies:
        return 0.0  # scores that vary with the seed and agree on every one are those of one and the same computation
    return equivalence_p(*known, len(pairs.tested), margin)


def _moments(pairs: Pairs) -> tuple[float, float] | None:
    """Mean and deviation of what is tested; None where there are fewer than two, or no such numbers."""
    if len(pairs.tested) < 2:
        return None
    found = mean(pairs.tested), deviation(pairs.tested)
    return found if all(map(math.isfinite, found)) else None


def _adjusted(p_values: list[float | None]) -> list[float | None]:
    """Holm over all: a comparison without a test counts among those asked, with p = 1."""
    adjusted = holm([1.0 if value is None else value for value in p_values])
    return [None if value is None else new for value, new in zip(p_values, adjusted, strict=True)]


def _check_arguments(
    metrics: Mapping[str, Direction], margins: Mapping[str, float], level: float, power: float
) -> None:
    if not metrics:
        raise ValueError("metrics must name at least one metric")
    for metric, direction in metrics.items():
        if direction not in ("max", "min"):
            raise ValueError(f"direction of {metric!r} must be 'max' or 'min', got {direction!r}")
    for metric, margin in margins.items():
        if metric not in metrics:
            raise ValueError(f"margins name {metric!r}, which is none of the metrics: {', '.join(metrics)}")
        if not margin > 0 or margin == float("inf"):
            raise ValueError(f"the margin of {metric!r} must be a positive number, got {margin}")
    for name, value in (("level", level), ("power", power)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")
