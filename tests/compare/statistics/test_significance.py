"""Tests, correction and power against SciPy, closed testing, published tables and simulation."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mtlgrad.compare.statistics.significance import (
    MOST_SEEDS,
    difference_p,
    difference_power,
    equivalence_p,
    equivalence_power,
    holm,
    seeds_for_difference,
    seeds_for_equivalence,
)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
@pytest.mark.parametrize("shift", [-1.5, 0.0, 0.3])
def test_difference_p_is_that_of_scipys_paired_t_test(n, shift):
    random = np.random.default_rng(n)
    one, other = random.normal(shift, 1, n), random.normal(0, 2, n)
    differences = one - other
    ours = difference_p(float(differences.mean()), float(differences.std(ddof=1)), n)
    assert ours == pytest.approx(stats.ttest_rel(one, other).pvalue, rel=1e-9)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
@pytest.mark.parametrize("margin", [0.1, 1.0, 3.0])
def test_equivalence_p_is_the_larger_of_two_one_sided_tests(n, margin):
    differences = np.random.default_rng(n).normal(0.2, 1, n)
    lower = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
    upper = stats.ttest_1samp(differences, margin, alternative="less").pvalue
    ours = equivalence_p(float(differences.mean()), float(differences.std(ddof=1)), n, margin)
    assert ours == pytest.approx(max(lower, upper), rel=1e-9)


def test_holm_on_a_published_example():
    # four hypotheses: 0.01, 0.04, 0.03, 0.005 at 5 %: the first and the fourth are rejected
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=7))
def test_holm_is_closed_testing_with_bonferroni(p_values):
    """A hypothesis is rejected when every set of hypotheses that holds it is, by Bonferroni: brute force over sets."""
    everyone = range(len(p_values))
    sets = [chosen for size in range(1, len(p_values) + 1) for chosen in combinations(everyone, size)]
    for k, adjusted in enumerate(holm(p_values)):
        closed = max(min(1.0, len(one) * min(p_values[i] for i in one)) for one in sets if k in one)
        assert adjusted == pytest.approx(closed, rel=1e-12, abs=1e-300)


# Sample sizes of the two-sided paired t-test at 5 % as printed in textbooks and by G*Power
@pytest.mark.parametrize(
    ("effect", "power", "seeds"), [(0.2, 0.8, 199), (0.5, 0.8, 34), (0.8, 0.8, 15), (1.0, 0.8, 10), (0.5, 0.95, 54)]
)
def test_seeds_of_published_tables(effect, power, seeds):
    assert seeds_for_difference(effect, power=power) == seeds


@pytest.mark.parametrize(("effect", "n", "level"), [(1.0, 5, 0.05), (0.5, 20, 0.01), (2.0, 3, 0.05), (0.0, 8, 0.05)])
def test_difference_power_is_what_simulation_shows(effect, n, level):
    draws = np.random.default_rng(7).normal(effect, 1, (40_000, n))
    shown = (stats.ttest_1samp(draws, 0, axis=1).pvalue <= level).mean()
    assert difference_power(effect, n, level=level) == pytest.approx(shown, abs=0.01)


@pytest.mark.parametrize(("margin", "n", "level"), [(1.0, 11, 0.05), (0.5, 40, 0.05), (2.0, 6, 0.005), (0.3, 10, 0.05)])
def test_equivalence_power_is_what_simulation_shows(margin, n, level):
    draws = np.random.default_rng(8).normal(0, 1, (40_000, n))
    lower = stats.ttest_1samp(draws, -margin, axis=1, alternative="greater").pvalue
    upper = stats.ttest_1samp(draws, margin, axis=1, alternative="less").pvalue
    shown = (np.maximum(lower, upper) <= level).mean()
    assert equivalence_power(margin, n, level=level) == pytest.approx(shown, abs=0.01)


@pytest.mark.parametrize("effect", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("level", [0.05, 0.004])
def test_seeds_are_the_fewest_that_are_enough(effect, level):
    for seeds, power in ((seeds_for_difference, difference_power), (seeds_for_equivalence, equivalence_power)):
        found = seeds(effect, level=level)
        assert power(effect, found, level=level) >= 0.8
        assert found == 2 or power(effect, found - 1, level=level) < 0.8


def test_more_seeds_than_anybody_runs():
    assert seeds_for_difference(1e-4) is None
    assert seeds_for_equivalence(1e-4) is None
    assert seeds_for_difference(0.03) <= MOST_SEEDS


def test_huge_effects_have_full_power():
    assert difference_power(1e3, 50) == pytest.approx(1.0)
    assert seeds_for_difference(1e6) == 2


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: difference_p(1.0, 1.0, 1), "at least 2 seeds"),
        (lambda: difference_p(1.0, float("nan"), 3), "std must be"),
        (lambda: equivalence_p(1.0, 1.0, 3, 0.0), "margin must be positive"),
        (lambda: holm([0.5, 1.5]), "p_values must lie in"),
        (lambda: difference_power(1.0, 5, level=0.0), "level must lie"),
        (lambda: seeds_for_difference(1.0, power=1.0), "power must lie"),
    ],
)
def test_wrong_arguments_are_named(call, told):
    with pytest.raises(ValueError, match=told):
        call()
