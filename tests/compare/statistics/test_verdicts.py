"""Verdicts on known cases, on awkward ones, and on simulated data without and with a difference."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlgrad.compare.statistics import judge
from mtlgrad.compare.statistics.pairs import pairs_of
from mtlgrad.compare.statistics.significance import seeds_for_difference


def table(scores, *, status=None, arm=None):
    """A long table of runs from {method: scores by seed}."""
    lines = [
        {"method": method, "seed": seed, "accuracy": value, "status": (status or {}).get((method, seed), "ok")}
        for method, values in scores.items()
        for seed, value in enumerate(values)
    ]
    frame = pd.DataFrame(lines)
    return frame if arm is None else frame.assign(arm=arm)


def verdict_of(scores, *, margin=None, direction="max", status=None):
    margins = {} if margin is None else {"accuracy": margin}
    (found,) = judge(table(scores, status=status), baseline="sum", metrics={"accuracy": direction}, margins=margins)
    return found


BASE = np.array([80.0, 81.0, 79.5, 80.7, 80.2])


@pytest.mark.parametrize(
    ("shift", "direction", "margin", "word"),
    [
        (2.0, "max", None, "better"),
        (2.0, "min", None, "worse"),
        (-2.0, "max", None, "worse"),
        (-2.0, "min", None, "better"),
        (0.0, "max", 1.0, "equivalent"),
        (0.0, "min", 1.0, "equivalent"),
        (0.0, "max", None, "undecided"),
        (0.0, "max", 0.01, "undecided"),
        (0.5, "max", 3.0, "equivalent"),  # surely better, and surely by less than what matters
        (2.0, "max", 1.0, "better"),
    ],
)
def test_words(shift, direction, margin, word):
    noise = np.array([0.1, -0.1, 0.05, -0.05, 0.02])
    found = verdict_of({"sum": BASE, "gh": BASE + shift + noise}, margin=margin, direction=direction)
    assert found.word == word
    assert found.pairs.mean == pytest.approx(shift + noise.mean())
    assert (found.seeds_to_decide is not None) == (word == "undecided")


def test_seeds_that_would_decide_an_undecided_one():
    found = verdict_of({"sum": BASE, "gh": np.add(BASE, [1.0, -0.5, 1.5, 0.2, -0.4])})
    assert found.word == "undecided"
    assert found.seeds_to_decide == seeds_for_difference(found.pairs.mean / found.pairs.std)
    wide = verdict_of({"sum": BASE, "gh": np.add(BASE, [1.0, -0.5, 1.5, 0.2, -0.4])}, margin=0.1)
    assert wide.seeds_to_decide > found.seeds_to_decide  # a smaller difference matters: more seeds to see it


def test_one_seed_or_none_decides_nothing():
    one = verdict_of({"sum": [1.0], "gh": [9.0]}, margin=0.1)
    assert (one.word, one.seeds_to_decide, one.reason) == ("undecided", None, "one seed has no spread")
    assert one.pairs.interval() is None
    (none,) = judge(
        table({"sum": BASE}), baseline="sum", metrics={"accuracy": "max"}, methods=["gh"], margins={"accuracy": 1.0}
    )
    assert (none.word, none.pairs.n) == ("undecided", 0)
    assert "no seed that both have" in none.reason


def test_identical_rows_are_equivalent_and_never_better():
    assert verdict_of({"sum": BASE, "gh": BASE}, margin=1e-6).word == "equivalent"
    without = verdict_of({"sum": BASE, "gh": BASE})
    assert without.word == "undecided"
    assert "identical on every seed" in without.reason
    # a metric that is stuck at one value for everybody shows nothing about two seeds more
    stuck = verdict_of({"sum": [100.0] * 2, "gh": [100.0] * 2}, margin=1e-6)
    assert stuck.word == "undecided"


def test_zero_spread_is_no_proof():
    """The same difference on every seed has no t statistic; five equal signs alone are not below 5 %."""
    five = verdict_of({"sum": BASE, "gh": np.add(BASE, 1.0)})
    assert (five.word, five.difference_p) == ("undecided", pytest.approx(2.0**-4))
    assert "same difference on every seed" in five.reason
    twelve = [float(k) for k in range(12)]
    assert verdict_of({"sum": twelve, "gh": np.add(twelve, 0.1)}).word == "better"


def test_rounding_of_a_constant_difference_is_no_spread():
    values = [0.1 * k for k in range(5)]
    assert verdict_of({"sum": values, "gh": [value + 0.3 for value in values]}).pairs.std == 0


def test_rounding_of_single_precision_is_no_spread():
    """Shares as networks are judged: means of float32, some multiplied afterwards."""
    shares = [float(np.float32(value) / np.float32(100)) for value in (80, 75, 85)]
    more = [float(np.float32(value) / np.float32(100)) for value in (85, 80, 90)]
    for factor in (1.0, 100.0):
        found = verdict_of({"sum": np.multiply(shares, factor), "gh": np.multiply(more, factor)})
        assert (found.word, found.pairs.std, found.difference_p) == ("undecided", 0.0, 0.25)


def test_no_number_is_told_of_a_diverged_run():
    """The mean is that of the finished pairs, whatever else ran."""
    good = [82.0, 83.2, 84.1, 85.3]
    scores = {"sum": [80.0, 81.0, 82.0, 83.0, 84.0], "gh": [*good, 99.0]}
    for others in ({}, {"bad": [10.0] * 5}):
        runs = table({**scores, **others}, status={("gh", 4): "diverged"})
        found, *_ = judge(runs, baseline="sum", metrics={"accuracy": "max"})
        assert found.pairs.mean == pytest.approx(2.15)
        assert found.seeds_to_decide is None
        assert "diverged on 1 of 5 seeds" in found.reason


def test_pairs_of_which_both_diverged_say_nothing():
    scores = {"sum": [80.0 + k for k in range(8)], "gh": [80.5 + k for k in range(8)]}
    gone = {(name, seed): "diverged" for name in scores for seed in range(1, 8)}
    found = verdict_of(scores, status=gone, margin=1.0)
    assert (found.word, found.pairs.n, found.pairs.both_diverged) == ("undecided", 1, 7)
    assert "both diverged on 7 of 8 seeds" in found.reason


@pytest.mark.parametrize("huge", [1e160, 1e300, -1.7e308])
def test_huge_scores_stop_no_comparison(huge: float):
    found = verdict_of({"sum": [1.0, 2.0, 3.0], "gh": [1.1, huge, 2.0]})
    assert found.word == "undecided"


def test_diverged_runs_are_the_worst_there_are():
    noise = [0.1, -0.1, 0.05, -0.05, 0.02]
    good = np.add(np.add(BASE, 2.0), noise)
    assert verdict_of({"sum": BASE, "gh": good}).word == "better"
    one_gone = verdict_of({"sum": BASE, "gh": good}, status={("gh", 3): "diverged"}, margin=100.0)
    assert one_gone.word == "undecided"
    assert (one_gone.pairs.n, one_gone.pairs.made) == (4, 5)
    assert min(one_gone.pairs.penalties) < -1.0  # below every finished run, though its number said otherwise
    assert "diverged on 1 of 5" in one_gone.reason
    all_gone = {("gh", seed): "diverged" for seed in range(5)}
    for direction in ("max", "min"):
        assert verdict_of({"sum": BASE, "gh": good}, status=all_gone, direction=direction).word == "worse"


def test_a_baseline_that_diverged_is_beaten_but_never_beats():
    gone = {("sum", seed): "diverged" for seed in range(5)}
    assert verdict_of({"sum": BASE, "gh": np.add(BASE, [0.1, 0.2, 0.0, 0.1, 0.3])}, status=gone).word == "better"
    once = verdict_of(
        {"sum": BASE, "gh": np.subtract(BASE, [2.0, 2.1, 2.0, 1.9, 2.0])}, status={("sum", 0): "diverged"}
    )
    assert once.word == "undecided"
    both = {(method, 0): "diverged" for method in ("sum", "gh")}
    assert verdict_of({"sum": BASE, "gh": BASE}, status=both).pairs.differences[0] == 0


def test_failed_runs_are_left_out_and_counted():
    found = verdict_of({"sum": BASE, "gh": np.add(BASE, 1.0)}, status={("gh", 0): "failed", ("sum", 1): "failed"})
    assert (found.pairs.n, found.pairs.left_out) == (3, 2)
    assert "2 seeds left out" in found.reason
    nothing = table({"sum": BASE, "gh": [np.nan, np.inf, 81.0, 82.0, 80.0]})
    assert pairs_of(nothing, "gh", "sum", "accuracy", "max").n == 3


def test_only_seeds_in_common_are_paired():
    frame = pd.concat([table({"sum": BASE}), table({"gh": BASE}).assign(seed=[3, 4, 5, 6, 7])])
    pairs = pairs_of(frame, "gh", "sum", "accuracy", "max")
    assert pairs.differences == pytest.approx((BASE[0] - BASE[3], BASE[1] - BASE[4]))
    assert pairs.left_out == 6


def test_everything_asked_counts():
    """A difference that one comparison would show is not enough among many: arms, metrics and methods all count."""
    random = np.random.default_rng(0)
    scores = {"sum": BASE, "gh": np.add(BASE, [2.6, 0.9, 2.3, 0.4, 1.8])}
    alone = verdict_of(scores)
    assert alone.word == "better"
    others = {f"m{k}": BASE + random.normal(0, 1, 5) for k in range(5)}
    arms = pd.concat([table({**scores, **others}, arm=arm) for arm in ("x", "y")])
    arms["loss"] = random.normal(0, 1, len(arms))
    found = judge(arms, baseline="sum", metrics={"accuracy": "max", "loss": "min"})
    assert {one.comparisons for one in found} == {2 * 2 * 6}
    assert {(one.arm, one.method, one.metric) for one in found if one.word != "undecided"} == set()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-100, 100))
def test_words_do_not_depend_on_units_or_order(seed, unit, origin):
    """Another unit, another origin, losses for scores, rows in another order: the same words."""
    random = np.random.default_rng(seed)
    frame = table({name: random.normal(k % 3, 1, 6) for k, name in enumerate(("sum", "a", "b", "c"))})
    plain = judge(frame, baseline="sum", metrics={"accuracy": "max"}, margins={"accuracy": 0.7})
    scaled = frame.assign(accuracy=unit * frame["accuracy"] + origin)
    flipped = frame.assign(accuracy=-frame["accuracy"])
    shuffled = frame.sample(frac=1, random_state=seed)
    for other, direction, margin in (
        (scaled, "max", 0.7 * unit),
        (flipped, "min", 0.7),
        (shuffled, "max", 0.7),
    ):
        found = judge(other, baseline="sum", metrics={"accuracy": direction}, margins={"accuracy": margin})
        assert {(one.method, one.word) for one in found} == {(one.method, one.word) for one in plain}


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_a_larger_family_never_turns_a_verdict_bolder(seed):
    random = np.random.default_rng(seed)
    frame = table({name: random.normal(2 * k, 1, 5) for k, name in enumerate(("sum", "a", "b", "c"))})
    small = {one.method: one for one in judge(frame, baseline="sum", metrics={"accuracy": "max"}, methods=["a"])}
    large = {one.method: one for one in judge(frame, baseline="sum", metrics={"accuracy": "max"})}
    assert large["a"].difference_p >= small["a"].difference_p


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"baseline": "nobody"}, "baseline must be one of the methods"),
        ({"metrics": {"accuracy": "up"}}, "must be 'max' or 'min'"),
        ({"metrics": {}}, "at least one metric"),
        ({"metrics": {"loss": "min"}}, "missing: loss"),
        ({"margins": {"loss": 1.0}}, "none of the metrics"),
        ({"margins": {"accuracy": -1.0}}, "positive number"),
        ({"level": 2.0}, "level must lie"),
    ],
)
def test_wrong_arguments_are_named(change, told):
    arguments = {"baseline": "sum", "metrics": {"accuracy": "max"}, **change}
    with pytest.raises(ValueError, match=told):
        judge(table({"sum": BASE, "gh": BASE}), **arguments)


def test_two_runs_of_one_seed_are_refused():
    frame = pd.concat([table({"sum": BASE, "gh": BASE}), table({"gh": BASE})])
    with pytest.raises(ValueError, match="two runs of method 'gh', seed 0"):
        judge(frame, baseline="sum", metrics={"accuracy": "max"})
