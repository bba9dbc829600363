"""Aggregates over arms with few seeds, by the definitions of rliable (Agarwal et al., NeurIPS 2021).

Scores are arrays [seeds, arms] of one method, on a scale that makes arms comparable (`normalised` makes one), more
being better. Intervals come from the stratified bootstrap: seeds are drawn again within each arm, arms never.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from mtlgrad.compare.statistics.moments import tied
from mtlgrad.compare.statistics.pairs import Direction, finished_or_worst

Array = npt.NDArray[np.float64]

RESAMPLES = 2_000
"""rliable's number."""


@dataclass(frozen=True)
class Estimate:
    """A point with the two ends of its 95 % bootstrap interval; no ends where there is one seed only."""

    value: float
    low: float | None
    high: float | None


def normalised(scores: pd.DataFrame, metric: str, direction: Direction) -> dict[str, Array]:
    """Every method's scores [seeds, arms], where 0 is the worst score of an arm and 1 the best one, of all its runs.

    Scores that differ by rounding are made equal. Seeds that are not there for every method and arm are left out: see
    `mtlgrad.compare.statistics.across.without_gaps`. A diverged run is worse than the worst finished one,
    and so it is 0 on this scale. An arm in which all scores are equal is 0.5 throughout.

    >>> runs = pd.DataFrame({"method": ["a", "b", "c"], "seed": 0, "loss": [1.0, 2.0, 5.0]})
    >>> {name: float(values[0, 0]) for name, values in normalised(runs, "loss", "min").items()}
    {'a': 1.0, 'b': 0.75, 'c': 0.0}
    """
    arms = scores.groupby("arm", sort=False) if "arm" in scores else [("", scores)]
    tables = {}
    for arm, part in arms:
        table = finished_or_worst(part, metric, direction).unstack("method")
        table[:] = tied(table)
        low, high = float(table.min().min()), float(table.max().max())
        above = table - low if direction == "max" else high - table
        tables[arm] = above / (high - low) if high != low else table * 0 + 0.5
    if not tables:  # no scores
        return {}
    together = pd.concat(tables, axis=1, sort=True).dropna()
    names = list(scores["method"].unique())
    return {
        str(name): together[[(arm, name) for arm in tables]].to_numpy(dtype=float)
        for name in names
        if all((arm, name) in together for arm in tables) and len(together)
    }


def interquartile_mean(scores: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Mean of the middle half of all scores [seeds, arms] together, with its stratified bootstrap interval.

    Less noisy than the median, and unmoved by a few runs that went far wrong or right.

    >>> interquartile_mean([[0.0, 0.4], [0.5, 0.6], [0.5, 9.0]]).value
    0.5
    """
    values = _scores("scores", scores)
    return _bootstrapped(lambda *arms, axis=-1: _trimmed(arms, axis), tuple(values.T), seed, resamples)


def probability_of_improvement(
    scores: npt.ArrayLike, baseline: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """P(a run of the method beats a run of the baseline), mean over arms; equal scores count one half.

    The mean over arms of the Mann-Whitney statistic U / (seeds x seeds). It says how often, never by how much, and 0.5
    is "neither". Arguments: scores [seeds, arms] of both, which need not have equally many seeds.

    >>> probability_of_improvement([[1.0], [2.0]], [[0.0], [1.0]]).value
    0.875
    """
    one, other = _scores("scores", scores), _scores("baseline", baseline)
    if one.shape[1] != other.shape[1]:
        raise ValueError(f"baseline must have as many arms as scores, {one.shape[1]}, got {other.shape[1]}")
    arms = one.shape[1]

    def statistic(*samples: Array, axis: int = -1) -> Any:
        wins = [_wins(samples[k], samples[arms + k]) for k in range(arms)]
        return np.mean(wins, axis=0)

    return _bootstrapped(statistic, (*one.T, *other.T), seed, resamples)


def performance_profile(scores: npt.ArrayLike, thresholds: npt.ArrayLike) -> Array:
    """The share of runs above each threshold, mean over arms: one curve that shows the whole spread of a method.

    A curve that lies above another everywhere is that of a method which is stochastically better. Arguments: scores
    [seeds, arms]; thresholds [k]. Returns shares [k].

    >>> performance_profile([[0.2, 0.9], [0.6, 0.7]], [0.0, 0.5, 0.8]).tolist()
    [1.0, 0.75, 0.25]
    """
    values = _scores("scores", scores)
    shares: Array = (values[None] > np.asarray(thresholds, dtype=float)[:, None, None]).mean(axis=1).mean(axis=1)
    return shares


def _trimmed(arms: tuple[Array, ...], axis: int) -> Any:
    # trim_mean sorts; the resamples, where there are any, lie along the axes before
    return stats.trim_mean(np.concatenate(arms, axis=axis), 0.25, axis=axis)


def _wins(one: Array, other: Array) -> Any:
    above = one[..., :, None] > other[..., None, :]
    equal = one[..., :, None] == other[..., None, :]
    return above.mean((-2, -1)) + 0.5 * equal.mean((-2, -1))


def _bootstrapped(statistic: Any, samples: tuple[Array, ...], seed: int, resamples: int) -> Estimate:
    """`scipy.stats.bootstrap` draws every sample by itself: one sample for each arm makes it stratified."""
    value = float(statistic(*samples))
    if min(len(sample) for sample in samples) < 2:
        return Estimate(value, None, None)
    if all(np.ptp(sample) == 0 for sample in samples):  # nothing to draw
        return Estimate(value, value, value)
    interval = stats.bootstrap(
        samples,
        statistic,
        vectorized=True,
        n_resamples=resamples,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))


def _scores(name: str, values: npt.ArrayLike) -> Array:
    array = np.asarray(values, dtype=float)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{name} must have the shape [seeds, arms], with at least one of each, got {list(array.shape)}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite: give diverged runs the worst score of their arm first")
    return array


def profiles(scores: Mapping[str, npt.ArrayLike], *, points: int = 101) -> tuple[Array, dict[str, Array]]:
    """The performance profiles of several methods over thresholds from 0 to 1, as `normalised` scores have them.

    >>> thresholds, curves = profiles({"a": [[1.0]], "b": [[0.0]]}, points=3)
    >>> thresholds.tolist(), curves["a"].tolist(), curves["b"].tolist()
    ([0.0, 0.5, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0])
    """
    thresholds = np.linspace(0.0, 1.0, points)
    return thresholds, {name: performance_profile(values, thresholds) for name, values in scores.items()}
