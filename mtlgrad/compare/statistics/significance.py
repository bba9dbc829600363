"""The tests under a verdict: paired t, two one-sided tests, Holm's correction, and the power that seeds buy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

MOST_SEEDS = 10_000
"""Beyond this number the answer is "more seeds than anybody runs"."""


def difference_p(mean: float, std: float, n: int) -> float:
    """Two-sided p-value of the paired t-test: how surprising this mean is if the true difference is zero.

    Arguments: mean and sample standard deviation (ddof = 1) of `n` differences, one for each seed. Where the spread is
    zero there is no t statistic, and the sign test answers in its place: n equal signs have probability 2^(1 - n) if
    either sign is as likely, and a difference of exactly zero says nothing (p = 1).

    >>> round(difference_p(1.0, 1.0, 9), 4)
    0.0171
    >>> difference_p(1.0, 0.0, 5), difference_p(0.0, 0.0, 5)
    (0.0625, 1.0)
    """
    _check(std, n)
    if std == 0:
        return 1.0 if mean == 0 else 2.0 ** (1 - n)
    return float(2 * stats.t.sf(abs(mean) / std * math.sqrt(n), n - 1))


def equivalence_p(mean: float, std: float, n: int, margin: float) -> float:
    """p-value of two one-sided t-tests (Schuirmann 1987): how surprising if the true difference reached the margin.

    The claim that it supports is |true difference| < margin. Where the spread is zero, the sign test answers: n
    differences all inside the margin have probability at most 2^-n if the median difference lies at or beyond it.

    >>> round(equivalence_p(0.0, 1.0, 9, margin=1.0), 4)
    0.0085
    >>> equivalence_p(0.0, 0.0, 5, margin=1.0)
    0.03125
    """
    _check(std, n)
    if margin <= 0:
        raise ValueError(f"margin must be positive, got {margin}")
    room = margin - abs(mean)
    if std == 0:
        return 2.0**-n if room > 0 else 1.0
    return float(stats.t.sf(room / std * math.sqrt(n), n - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of Holm (1979), in the order given.

    Calling every hypothesis with an adjusted value <= alpha false makes one or more mistakes with probability at most
    alpha, however the tests depend on each other. The k-th smallest of K values is multiplied by K - k + 1, made no
    smaller than the ones before it, and capped at 1.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=float)
    if values.size == 0:
        return []
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"p_values must lie in [0, 1], got {list(p_values)}")
    order = np.argsort(values, kind="stable")
    scaled = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in adjusted]


def difference_power(effect: float, n: int, *, level: float = 0.05) -> float:
    """How often the two-sided paired t-test of `n` seeds finds a true difference of `effect` spreads.

    The spread is the standard deviation of the differences over seeds; the statistic is noncentral t with n - 1 degrees
    of freedom and noncentrality effect * sqrt(n).

    >>> round(difference_power(1.0, 10), 3)
    0.803
    """
    _check(1.0, n)
    _check_share("level", level)
    threshold = float(stats.t.isf(level / 2, n - 1))
    shift = abs(effect) * math.sqrt(n)
    above = _noncentral_sf(threshold, n - 1, shift)
    below = _noncentral_sf(threshold, n - 1, -shift)
    return min(above + below, 1.0)


def equivalence_power(margin: float, n: int, *, level: float = 0.05) -> float:
    """How often two one-sided tests of `n` seeds show two equal methods equivalent within `margin` spreads.

    The true difference is zero. The mean of the differences and their spread are independent, so that the power is the
    mean, over the chi distribution of the spread, of the probability that the mean lies far enough inside the margin.

    >>> round(equivalence_power(1.0, 11), 3)
    0.849
    """
    _check(1.0, n)
    _check_share("level", level)
    if margin <= 0:
        raise ValueError(f"margin must be positive, got {margin}")
    threshold = float(stats.t.isf(level, n - 1))
    # the observed spread over the true one, at evenly spaced probabilities: a quadrature that needs no tails
    probabilities = (np.arange(512) + 0.5) / 512
    ratio = np.sqrt(stats.chi2.ppf(probabilities, n - 1) / (n - 1))
    room = np.maximum(margin * math.sqrt(n) - threshold * ratio, 0.0)
    return float(np.mean(2 * stats.norm.cdf(room) - 1))


def seeds_for_difference(effect: float, *, level: float = 0.05, power: float = 0.8) -> int | None:
    """The fewest seeds with which a true difference of `effect` spreads is found with probability `power`.

    None where not even `MOST_SEEDS` are enough.

    >>> seeds_for_difference(1.0), seeds_for_difference(0.5), seeds_for_difference(0.0)
    (10, 34, None)
    """
    _check_share("power", power)
    return _fewest(lambda n: difference_power(effect, n, level=level) >= power)


def seeds_for_equivalence(margin: float, *, level: float = 0.05, power: float = 0.8) -> int | None:
    """The fewest seeds with which two equal methods are shown equivalent within `margin` spreads.

    None where not even `MOST_SEEDS` are enough.

    >>> seeds_for_equivalence(1.0)
    11
    """
    _check_share("power", power)
    return _fewest(lambda n: equivalence_power(margin, n, level=level) >= power)


def _fewest(enough: Callable[[int], bool]) -> int | None:
    """The smallest n >= 2 that is enough, by bisection: power grows with n."""
    low, high = 1, 2
    while not enough(high):
        if high >= MOST_SEEDS:
            return None
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _noncentral_sf(threshold: float, freedom: int, shift: float) -> float:
    """Of the noncentral t distribution. Far in either tail SciPy's series may give no number: the limits are known."""
    value = float(stats.nct.sf(threshold, freedom, shift))
    if math.isfinite(value):
        return min(max(value, 0.0), 1.0)
    return float(stats.norm.sf(threshold - shift))


def _check(std: float, n: int) -> None:
    if n < 2:
        raise ValueError(f"n must be at least 2 seeds, got {n}: a single one has no spread")
    if not (math.isfinite(std) and std >= 0):
        raise ValueError(f"std must be a finite number >= 0, got {std}")


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")
