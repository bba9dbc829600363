"""Aggregates over metrics and arms: by hand, by brute force, against SciPy and published tables."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mtlgrad.compare.statistics import (
    block_ranks,
    hypervolume,
    interquartile_mean,
    mean_ranks,
    non_dominated,
    normalised,
    performance_profile,
    probability_of_improvement,
    relative_change,
    without_gaps,
)


def runs(values, **columns):
    """A long table from {method: {metric: scores by seed}}."""
    return pd.concat(
        pd.DataFrame({"method": method, "seed": range(len(next(iter(metrics.values())))), **metrics, **columns})
        for method, metrics in values.items()
    )


def test_relative_change_is_the_formula_on_means():
    random = np.random.default_rng(0)
    frame = pd.concat(
        runs({m: {"up": random.uniform(50, 90, 4), "down": random.uniform(1, 2, 4)} for m in ("one", "ref")}, arm=arm)
        for arm in ("x", "y")
    )
    means = frame.groupby(["arm", "method"])[["up", "down"]].mean()
    terms = [
        sign * (means.loc[(arm, "one"), metric] - means.loc[(arm, "ref"), metric]) / means.loc[(arm, "ref"), metric]
        for arm in ("x", "y")
        for metric, sign in (("up", 1), ("down", -1))
    ]
    found = relative_change(frame, "one", "ref", {"up": "max", "down": "min"})
    assert found.percent == pytest.approx(100 * np.mean(terms))
    assert found.low < found.percent < found.high
    assert found.seeds == 4
    assert np.mean(list(found.by_metric.values())) == pytest.approx(found.percent)
    assert relative_change(frame, "ref", "ref", {"up": "max"}).percent == 0
    assert relative_change(frame, "nobody", "ref", {"up": "max"}) is None


def test_relative_to_zero_there_is_no_change():
    frame = runs({"one": {"up": [1.0, 2.0]}, "ref": {"up": [-1.0, 1.0]}})
    with pytest.raises(ValueError, match="has mean 0 on 'up'"):
        relative_change(frame, "one", "ref", {"up": "max"})


# q of the Nemenyi test at 5 %: Demsar 2006, Table 5 (a)
@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (7, 2.949), (10, 3.164)])
def test_critical_difference_of_the_published_table(k, q):
    ranks = pd.DataFrame([np.random.default_rng(b).permutation(k) + 1.0 for b in range(14)])
    assert mean_ranks(ranks).critical_difference == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * 14)), abs=2e-3)


def test_ranks_follow_the_direction_share_ties_and_put_diverged_runs_last():
    frame = runs({"a": {"s": [3.0, 1.0]}, "b": {"s": [2.0, 1.0]}, "c": {"s": [9.0, 0.0]}}).assign(status="ok")
    frame.loc[(frame["method"] == "c") & (frame["seed"] == 0), "status"] = "diverged"
    up, down = block_ranks(frame, {"s": "max"}), block_ranks(frame, {"s": "min"})
    assert up[["a", "b", "c"]].to_numpy().tolist() == [[1, 2, 3], [1.5, 1.5, 3]]
    assert down[["a", "b", "c"]].to_numpy().tolist() == [[2, 1, 3], [2.5, 2.5, 1]]
    found = mean_ranks(up)
    assert found.mean == {"a": 1.25, "b": 1.75, "c": 3.0}
    assert found.friedman_p == pytest.approx(stats.friedmanchisquare([3, 1], [2, 1], [0, 0]).pvalue)
    assert mean_ranks(up[["a", "b"]]).friedman_p is None


def test_interquartile_mean_is_rliables():
    random = np.random.default_rng(1)
    scores = random.normal(size=(8, 6))
    scores[0, 0] = 1e6
    found = interquartile_mean(scores)
    middle = np.sort(scores.ravel())[12:36]
    assert found.value == pytest.approx(middle.mean())
    # the stratified bootstrap, spelled out: every column draws its own seeds
    draws = [
        stats.trim_mean(np.concatenate([random.choice(column, 8) for column in scores.T]), 0.25) for _ in range(1_000)
    ]
    assert (found.low, found.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.1)
    assert interquartile_mean(scores[:1]).low is None
    assert interquartile_mean(np.ones((3, 2))).low == 1.0
    assert interquartile_mean(scores, seed=3) == interquartile_mean(scores, seed=3)


def test_stratified_means_that_arms_are_not_mixed():
    """Arms far apart and constant within: resampling within arms changes nothing, over all it would."""
    found = interquartile_mean(np.array([[0.0, 1.0, 2.0, 5.0], [0.0, 1.0, 2.0, 5.0001]]))
    assert found.high - found.low < 1e-3


def test_probability_of_improvement_is_mann_whitneys():
    random = np.random.default_rng(2)
    one, other = random.integers(0, 6, (5, 3)).astype(float), random.integers(0, 6, (7, 3)).astype(float)
    u = [stats.mannwhitneyu(one[:, k], other[:, k]).statistic / 35 for k in range(3)]
    found = probability_of_improvement(one, other)
    assert found.value == pytest.approx(np.mean(u))
    assert found.low <= found.value <= found.high
    assert found.value + probability_of_improvement(other, one).value == pytest.approx(1.0)
    with pytest.raises(ValueError, match="as many arms"):
        probability_of_improvement(one, other[:, :2])


def test_performance_profile_counts():
    scores = np.random.default_rng(3).uniform(size=(4, 5))
    thresholds = [0.1, 0.5, 0.9]
    brute = [sum(value > t for value in scores.ravel()) / 20 for t in thresholds]
    assert performance_profile(scores, thresholds) == pytest.approx(brute)


def test_normalised_scores_lie_between_worst_and_best():
    frame = pd.concat(
        runs({"a": {"loss": [1.0, 2.0]}, "b": {"loss": [3.0, 5.0]}, "c": {"loss": [0.0, 0.0]}}, arm=arm, status="ok")
        for arm in ("x", "y")
    )
    frame.loc[(frame["method"] == "c"), "status"] = "diverged"
    found = normalised(frame, "loss", "min")
    assert found["a"].shape == (2, 2)
    assert found["a"].max() == 1.0
    assert (found["c"] == 0).all()
    assert found["b"].min() > 0


def test_scores_that_are_not_finite_or_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="must be finite"):
        interquartile_mean([[1.0], [np.nan]])
    with pytest.raises(ValueError, match=r"shape \[seeds, arms\]"):
        interquartile_mean([1.0, 2.0])


POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(POINTS)
def test_hypervolume_is_the_number_of_covered_cells(points):
    cells = {(i, j) for x, y in points for i in range(x) for j in range(y)}
    assert hypervolume(points, [0, 0], ["max", "max"]) == len(cells)
    assert hypervolume([(-x, y) for x, y in points], [0, 0], ["min", "max"]) == len(cells)
    front = [points[k] for k in non_dominated(points, ["max", "max"])]
    assert hypervolume(front, [0, 0], ["max", "max"]) == len(cells)


@settings(max_examples=100, deadline=None)
@given(POINTS)
def test_the_front_is_what_nobody_beats(points):
    def beats(one, other):
        return one != other and one[0] <= other[0] and one[1] >= other[1]

    brute = [k for k, point in enumerate(points) if not any(beats(one, point) for one in points)]
    assert non_dominated(points, ["min", "max"]) == brute


def test_fronts_refuse_what_they_cannot_mean():
    with pytest.raises(ValueError, match="two metrics"):
        hypervolume([[1.0, 2.0, 3.0]], [0, 0, 0], ["max"] * 3)
    with pytest.raises(ValueError, match="finite"):
        non_dominated([[np.nan, 1.0]], ["max", "max"])
    with pytest.raises(ValueError, match="'max' or 'min'"):
        non_dominated([[0.0, 1.0]], ["max", "more"])


def test_scores_that_differ_by_rounding_are_tied_everywhere():
    frame = runs({"sum": {"loss": [0.3] * 5}, "gh": {"loss": [0.1 + 0.2] * 5}, "bad": {"loss": [0.5] * 5}})
    ranks = block_ranks(frame, {"loss": "min"})
    assert ranks["sum"].tolist() == ranks["gh"].tolist() == [1.5] * 5
    scores = normalised(frame, "loss", "min")
    assert probability_of_improvement(scores["gh"], scores["sum"]).value == 0.5


def test_a_method_that_fails_costs_the_others_nothing():
    values = {"sum": {"up": [1.0, 2.0, 3.0]}, "gh": {"up": [2.0, 3.0, 4.0]}, "x": {"up": [9.0, np.nan, 9.0]}}
    frame = runs(values).assign(status="ok")
    frame.loc[(frame["method"] == "x") & (frame["seed"] == 1), "status"] = "failed"
    two = frame[frame["method"] != "x"]
    both = pd.concat([frame.assign(arm="a"), two.assign(arm="b")], ignore_index=True)  # in b, x was never run
    kept, gaps = without_gaps(both, {"up": "max"})
    assert gaps == {"x": 2}
    assert set(kept["method"]) == {"sum", "gh"}
    assert len(kept) == 12
    not_made_yet = frame[(frame["method"] != "x") | (frame["seed"] != 1)]
    assert without_gaps(not_made_yet, {"up": "max"})[1] == {}


def test_relative_change_tells_no_number_of_a_diverged_run():
    frame = runs({"ref": {"up": [10.0, 10.0, 20.0]}, "one": {"up": [11.0, 11.0, 99.0]}}).assign(status="ok")
    frame.loc[(frame["method"] == "one") & (frame["seed"] == 2), "status"] = "diverged"
    for other in (frame, pd.concat([frame, runs({"bad": {"up": [-1e3] * 3}}).assign(status="ok")])):
        found = relative_change(other, "one", "ref", {"up": "max"})
        assert (found.percent, found.seeds, found.left_out) == (pytest.approx(10.0), 2, 1)


def test_what_may_be_zero_is_no_reference():
    frame = runs({"one": {"up": [0.1, 0.2, 0.3]}, "ref": {"up": [0.1, -0.1, 1e-9]}})
    with pytest.raises(ValueError, match=r"'ref' has mean .* on 'up', no farther from 0"):
        relative_change(frame, "one", "ref", {"up": "max"})


def test_of_no_runs_nothing_is_counted():
    none = runs({"a": {"up": [np.nan]}}).assign(status="failed").iloc[:0]
    assert normalised(none, "up", "max") == {}
    assert mean_ranks(block_ranks(none, {"up": "max"})).blocks == 0
