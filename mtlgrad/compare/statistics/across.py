"""One number over several metrics and arms: relative change against a reference, and mean ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from mtlgrad.compare.statistics.moments import evened, tied
from mtlgrad.compare.statistics.pairs import Direction, Pairs, finished_or_worst


@dataclass(frozen=True)
class RelativeChange:
    """Average relative change of one method in percent; positive is better."""

    percent: float
    low: float | None
    high: float | None
    seeds: int
    left_out: int
    """Seeds on which one of the two diverged or has no result."""
    by_metric: dict[str, float]
    """The same for each metric alone, averaged over the arms."""


def relative_change(
    scores: pd.DataFrame, method: str, reference: str, metrics: Mapping[str, Direction]
) -> RelativeChange | None:
    """The average relative change Delta_m of Maninis et al. (CVPR 2019), over metrics and arms.

    Delta_m = 100 / T * sum_i s_i (M_i - R_i) / |R_i|, with s_i = 1 where more of metric i is better and -1 where less
    is, M_i the method's mean over seeds and R_i the reference's: usually the single-task runs, or the plain sum. As in
    that paper, positive is better (later work often prints the negative).

    The means are over the seeds that both finished on every metric of every arm; `left_out` counts the others, on which
    one diverged or has no result. The interval is the 95 % t interval over these seeds, of differences paired by seed
    and divided by the reference's mean; it takes the reference's mean as known. None where there is no such seed.
    ValueError where a mean of the reference is no larger than its standard deviation: relative to what may be zero
    there is no change.

    >>> runs = pd.DataFrame({"method": ["single"] * 2 + ["gh"] * 2, "seed": [0, 1] * 2,
    ...                      "accuracy": [50.0, 50.0, 55.0, 60.0], "error": [2.0, 2.0, 2.0, 2.2]})
    >>> change = relative_change(runs, "gh", "single", {"accuracy": "max", "error": "min"})
    >>> round(change.percent, 6), {name: round(value, 6) for name, value in change.by_metric.items()}
    (5.0, {'accuracy': 15.0, 'error': -5.0})
    """
    arms = scores.groupby("arm", sort=False) if "arm" in scores else [("", scores)]
    columns, references = {}, {}
    for arm, part in arms:
        finished = part[part["status"] == "ok"] if "status" in part else part
        for metric, direction in metrics.items():
            table = finished_or_worst(finished, metric, direction).unstack("method")
            if method not in table or reference not in table:
                return None
            sign = 1.0 if direction == "max" else -1.0
            columns[arm, metric] = sign * (table[method] - table[reference])
            references[arm, metric] = table[reference]
    differences = pd.DataFrame(columns).dropna()
    if differences.empty:
        return None
    known = pd.DataFrame(references).loc[differences.index]
    means = known.mean().abs()
    small = means <= (known.std(ddof=1).fillna(0.0) if len(known) > 1 else 0.0)
    if small.any():
        raise ValueError(
            f"the reference {reference!r} has mean {means[small].iloc[0]:.3g} on {means[small].index[0][1]!r}, no "
            "farther from 0 than its own spread: relative to that there is no change"
        )
    changes = 100 * differences / means
    shares = changes.mean(axis=1)
    pairs = Pairs(tuple(evened(shares, 100 + shares.abs()).tolist()))
    interval = pairs.interval()
    assert pairs.mean is not None
    return RelativeChange(
        percent=pairs.mean,
        low=None if interval is None else interval[0],
        high=None if interval is None else interval[1],
        seeds=pairs.n,
        left_out=scores.loc[scores["method"].isin([method, reference]), "seed"].nunique() - pairs.n,
        by_metric={
            metric: float(changes[[column for column in changes if column[1] == metric]].mean().mean())
            for metric in metrics
        },
    )


@dataclass(frozen=True)
class Ranks:
    """Mean ranks over blocks, 1 the best; ties share the mean of their places."""

    mean: dict[str, float]
    blocks: int
    friedman_p: float | None
    """Of "all methods are alike"; None for fewer than three methods or two blocks, and where all scores are tied."""
    critical_difference: float | None
    """Nemenyi's: mean ranks that differ by more are told apart. None for fewer than two methods or blocks."""


def block_ranks(scores: pd.DataFrame, metrics: Mapping[str, Direction]) -> pd.DataFrame:
    """Ranks of the methods in every block: a row for each (arm, seed), a column for each method, 1 the best.

    A block is one seed of one arm. The metrics of a run are no independent blocks: their ranks are averaged within it.
    Scores that differ by rounding share a rank. Blocks in which a method has no result are left out, for all of them:
    `without_gaps` leaves out methods instead, where they are to blame. A diverged run ranks last.
    """
    arms = scores.groupby("arm", sort=False) if "arm" in scores else [("", scores)]
    found = []
    for arm, part in arms:
        ranks = []
        for metric, direction in metrics.items():
            table = finished_or_worst(part, metric, direction).unstack("method")
            table = table.apply(tied, axis=1, result_type="broadcast")
            ranks.append(table.rank(axis=1, ascending=direction == "min").where(table.notna().all(axis=1)))
        mean = sum(ranks[1:], ranks[0]) / len(ranks)
        found.append(mean.set_index(pd.MultiIndex.from_product([[arm], mean.index], names=["arm", "seed"])))
    return pd.concat(found).dropna() if found else pd.DataFrame()


def without_gaps(scores: pd.DataFrame, metrics: Mapping[str, Direction]) -> tuple[pd.DataFrame, dict[str, int]]:
    """The runs of methods with a result of every run that they made in every arm, and how many the others lack.

    What is counted over all methods together (ranks, the range of an arm's scores) can take only blocks that are whole.
    So that one method that fails does not cost the others theirs, it goes and they stay. Runs not made yet are no fault
    of a method; an arm without any run of it counts as one missing.

    >>> runs = pd.DataFrame({"method": ["a", "b"], "seed": 0, "status": ["ok", "failed"], "loss": [1.0, None]})
    >>> kept, gaps = without_gaps(runs, {"loss": "min"})
    >>> kept["method"].tolist(), gaps
    (['a'], {'b': 1})
    """
    arms = scores.groupby("arm", sort=False) if "arm" in scores else [("", scores)]
    gaps = dict.fromkeys(scores["method"].unique(), 0)
    for _, part in arms:
        results = pd.concat([finished_or_worst(part, name, direction) for name, direction in metrics.items()], axis=1)
        lacking = results.isna().any(axis=1).groupby("method").sum()
        for method in gaps:
            gaps[method] += int(lacking.get(method, 1))
    missing = {str(method): count for method, count in gaps.items() if count}
    return scores[~scores["method"].isin(list(missing))], missing


def mean_ranks(ranks: pd.DataFrame, *, level: float = 0.05) -> Ranks:
    """Mean ranks with Friedman's test and Nemenyi's critical difference (Demsar, JMLR 2006, section 3.2.2).

    CD = q sqrt(k (k + 1) / (6 N)) for k methods and N blocks, where q is the studentized range of k means with infinite
    degrees of freedom, divided by sqrt(2). The blocks are taken as independent. Where the ranks of a block are
    averages over several metrics their spread is smaller than CD supposes, so that it errs on the side of caution.

    Arguments: `ranks` as from `block_ranks`, a row for each block and a column for each method.

    >>> table = pd.DataFrame({"a": [1, 1, 1, 2], "b": [2, 2, 3, 1], "c": [3, 3, 2, 3]})
    >>> found = mean_ranks(table)
    >>> found.mean["a"], round(found.critical_difference, 3)
    (1.25, 1.657)
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    blocks, k = ranks.shape
    if k == 0 or blocks == 0:
        return Ranks({}, 0, None, None)
    p_value = None
    if k >= 3 and blocks >= 2 and (ranks.nunique(axis=1) > 1).any():
        p_value = float(stats.friedmanchisquare(*(ranks[name].to_numpy() for name in ranks)).pvalue)
    difference = None
    if k >= 2 and blocks >= 2:
        q = float(stats.studentized_range.ppf(1 - level, k, np.inf)) / math.sqrt(2)
        difference = q * math.sqrt(k * (k + 1) / (6 * blocks))
    return Ranks({str(name): float(value) for name, value in ranks.mean().items()}, blocks, p_value, difference)
