"""Equal scores have no spread, whatever they are and however many, and what has one has NumPy's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlgrad.compare.rows import paired_difference, spread
from mtlgrad.compare.statistics import Pairs, relative_change
from mtlgrad.compare.statistics.moments import ROUNDING, deviation, evened, mean, tied

values = st.floats(-1e3, 1e3, allow_subnormal=False)


@settings(deadline=None)
@given(values, st.integers(2, 40))
def test_equal_scores_have_no_spread(value: float, n: int) -> None:
    pairs = Pairs((value,) * n)
    assert (pairs.mean, pairs.std, pairs.interval()) == (value, 0.0, (value, value))
    found = spread(pd.Series([value] * n))
    assert found is not None
    assert (found.mean, found.std) == (value, 0.0)


@settings(deadline=None)
@given(st.lists(st.floats(1.0, 100.0), min_size=2, max_size=30), st.floats(-50.0, 50.0))
def test_a_shift_by_one_number_has_no_spread(baseline: list[float], shift: float) -> None:
    found = paired_difference(pd.Series(baseline) + shift, pd.Series(baseline))
    assert found is not None
    assert found.low == found.mean == found.high
    assert found.mean == pytest.approx(shift, abs=150 * ROUNDING)


@settings(deadline=None)
@given(st.lists(values, min_size=2, max_size=30).filter(lambda some: np.ptp(some) > 1e-2))
def test_scores_that_differ_have_numpys(some: list[float]) -> None:
    assert mean(some) == np.mean(some)
    assert deviation(some) == np.std(some, ddof=1)
    assert evened(some).tolist() == some


@settings(deadline=None)
@given(st.lists(st.floats(1.0, 100.0), min_size=2, max_size=30), st.floats(0.1, 3.0))
def test_the_same_relative_change_on_every_seed_has_no_spread(baseline: list[float], factor: float) -> None:
    seeds = list(range(len(baseline)))
    level = [baseline[0]] * len(baseline)  # relative to the reference's mean, equal differences are equal changes
    runs = pd.DataFrame(
        {
            "method": ["sum"] * len(seeds) + ["gh"] * len(seeds),
            "seed": seeds * 2,
            "loss": level + [factor * value for value in level],
        }
    )
    change = relative_change(runs, "gh", "sum", {"loss": "min"})
    assert change is not None
    assert change.low == change.percent == change.high


@pytest.mark.parametrize("gone", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_goes_through(gone: float) -> None:
    np.testing.assert_array_equal(evened([1.0, gone]), [1.0, gone])


def test_small_scores_keep_their_spread() -> None:
    assert deviation([1e-12, 2e-12]) == pytest.approx(2**-0.5 * 1e-12)
    assert evened([]).size == 0


@settings(deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=20), st.integers(0, 2**31))
def test_ties_survive_rounding_and_nothing_else_is_one(whole: list[int], seed: int) -> None:
    noise = 1 + np.random.default_rng(seed).uniform(-0.2, 0.2, len(whole)) * ROUNDING
    found = tied(np.array(whole) * noise)
    assert len(np.unique(found)) == len(set(whole))
    np.testing.assert_array_equal(np.argsort(found, kind="stable"), np.argsort(whole, kind="stable"))


def test_what_is_no_number_is_tied_to_nothing() -> None:
    np.testing.assert_array_equal(
        tied([[np.nan, 1.0, np.inf], [np.inf, 2.0, -np.inf]]), [[np.nan, 1.0, np.inf], [np.inf, 2.0, -np.inf]]
    )
    assert tied([]).size == 0


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e300])
def test_squares_neither_overflow_nor_vanish(scale: float) -> None:
    assert deviation([scale, 3 * scale]) == pytest.approx(2**0.5 * scale)
    assert mean([scale, 3 * scale]) == pytest.approx(2 * scale)
