"""Statistics against SciPy and by hand; selection looks at nothing but validation."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from mtlgrad.compare.report.charts import final_bars
from mtlgrad.compare.report.page import render
from mtlgrad.compare.results import Results
from mtlgrad.compare.rows import eligible, paired_difference, rows, select, spread
from mtlgrad.compare.suite import Suite
from mtlgrad.compare.table import headings, markdown, notes, show
from tests.compare.runs import run

finite = st.floats(-1e3, 1e3)


@settings(deadline=None)
@given(st.lists(st.tuples(finite, finite), min_size=2, max_size=8))
def test_the_interval_is_scipys(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = (np.array(side) for side in zip(*pairs, strict=True))
    found = paired_difference(pd.Series(ours), pd.Series(theirs))
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    if np.ptp(ours - theirs) > 1e-9:
        expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        assert found.low == pytest.approx(expected.low, rel=1e-6, abs=1e-6)
        assert found.high == pytest.approx(expected.high, rel=1e-6, abs=1e-6)
    assert found.low <= found.mean <= found.high


def test_differences_are_paired_by_seed_not_by_position() -> None:
    ours, theirs = pd.Series({0: 1.0, 1: 2.0, 4: 9.0}), pd.Series({1: 1.0, 0: 3.0, 7: 5.0})
    found = paired_difference(ours, theirs)
    assert found is not None
    assert (found.mean, found.n) == (-0.5, 2)
    one = paired_difference(pd.Series({0: 1.0}), theirs)
    assert one is not None
    assert (one.mean, one.low, one.high, one.n) == (-2.0, None, None, 1)
    assert paired_difference(pd.Series({9: 1.0}), theirs) is None


def test_spread_is_the_sample_deviation() -> None:
    found = spread(pd.Series([1.0, 2.0, 4.0, math.nan]))
    assert found is not None
    assert (found.n, found.mean) == (3, pytest.approx(7 / 3))
    assert found.std == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert spread(pd.Series([math.nan])) is None


def test_rows_of_an_arm(suite: Suite) -> None:
    runs = [run(suite, "sum", seed, 60.0 + seed, ms=10.0) for seed in range(3)]
    runs += [run(suite, "GH++ rotation", seed, 62.0 + 2 * seed, ms=12.0 + 3 * seed) for seed in range(3)]
    found = {row.label: row for row in rows(suite, runs)["plain"]}
    ours = found["GH++ rotation"]
    assert ours.final is not None
    assert ours.difference is not None
    assert (ours.final.mean, ours.difference.mean) == (64.0, 3.0)
    assert ours.step_time == pytest.approx(1.5)
    assert (ours.conflicts_before, ours.conflicts_after) == (0.5, 0.25)
    assert found["sum"].difference is None
    assert found["sum"].step_time == 1.0
    assert "slow" not in found
    assert rows(suite, runs)["biased"] == []


def test_further_metrics_get_a_table_of_their_own(suite: Suite) -> None:
    suite = suite.model_copy(update={"columns": ["accuracy", "loss", "speed"]})
    runs = [run(suite, "sum", seed, 60.0 + seed) for seed in range(3)]
    (row, *_) = rows(suite, runs)["plain"]
    assert row.columns["loss"] == spread(pd.Series([40.0, 39.0, 38.0]))
    assert row.columns["accuracy"] == row.final
    assert row.columns["speed"] is None, "a metric that no run has"
    assert set(row.column_differences.values()) == {None}, "the baseline's own"
    text = markdown(Results(suite, tuple(runs), 0, rows(suite, runs)))
    assert "| method | accuracy | loss | speed |" in text
    assert "| sum | 61.0 ± 1.0 | 39.0 ± 1.0 | \N{EN DASH} |" in text


def test_further_metrics_are_compared_by_pairs_too(suite: Suite) -> None:
    suite = suite.model_copy(update={"columns": ["loss"]})
    runs = [run(suite, "sum", seed, 60.0 + seed) for seed in range(3)]
    runs += [run(suite, "GH++ rotation", seed, 62.0 + 2 * seed) for seed in range(3)]
    found = {row.label: row for row in rows(suite, runs)["plain"]}
    difference = paired_difference(pd.Series([38.0, 36.0, 34.0]), pd.Series([40.0, 39.0, 38.0]))
    assert found["GH++ rotation"].column_differences == {"loss": difference}
    text = markdown(Results(suite, tuple(runs), 0, rows(suite, runs)))
    assert "vs sum [95 %]:\n\n| method | loss |" in text
    assert "| GH++ rotation | \N{MINUS SIGN}3.0 [\N{MINUS SIGN}5.5, \N{MINUS SIGN}0.5] |" in text


def test_one_seed_is_not_spoken_of_as_if_it_were_many(suite: Suite) -> None:
    runs = [run(suite, "sum", seed, 60.0) for seed in range(3)]
    several, alone = (" ".join(notes(Results(suite, tuple(some), 0, rows(suite, some)))) for some in (runs, runs[1:2]))
    assert "Seeds 0 to 2" in several
    assert "deviation over the runs" in several
    assert "t-interval" in several
    assert "Seed 1 alone" in alone
    assert "t-interval" not in alone


def test_runs_that_did_not_end_well_are_counted_and_not_averaged(suite: Suite) -> None:
    runs = [run(suite, "sum", 0, 60.0), run(suite, "sum", 1, 10.0, status="diverged"), run(suite, "sum", 2, 62.0)]
    (row,) = rows(suite, runs)["plain"]
    assert row.final is not None
    assert (row.final.mean, row.final.n) == (61.0, 2)
    assert row.statuses == {"ok": 2, "diverged": 1}


whole = st.lists(st.integers(-50, 50).map(float), min_size=4, max_size=4)


@settings(deadline=None, max_examples=25)
@given(validation=whole, target=whole, others=whole)
def test_selection_never_looks_at_the_target(validation: list[float], target: list[float], others: list[float]) -> None:
    def frames(metric: list[float]) -> dict[str, pd.DataFrame]:
        return {
            f"candidate {k}": pd.DataFrame(
                {"status": ["ok", "ok"], "validation": [v, v + 1], "final": metric[k], "best": -metric[k]}
            )
            for k, v in enumerate(validation)
        }

    chosen = [select(eligible(frames(metric))) for metric in (target, others)]
    assert chosen == 2 * [f"candidate {int(np.argmax(validation))}"]


def test_a_group_is_represented_by_validation(suite: Suite) -> None:
    runs = [run(suite, "sum", seed, 90.0, validation=50.0) for seed in range(2)]
    runs += [run(suite, "fixed 0.5 / 1.5", seed, 40.0, validation=70.0) for seed in range(2)]
    chosen = rows(suite, runs)["plain"][-1]
    assert (chosen.label, chosen.selected) == ("tuned weights", "fixed 0.5 / 1.5")
    assert chosen.selected_from == ("sum", "fixed 0.5 / 1.5")
    assert chosen.final is not None
    assert chosen.final.mean == 40.0


def test_candidates_are_compared_on_the_seeds_they_have_in_common(suite: Suite) -> None:
    runs = [run(suite, "sum", seed, 90.0, validation=value) for seed, value in enumerate((50.0, 50.0, 99.0))]
    runs += [run(suite, "fixed 0.5 / 1.5", seed, 40.0, validation=60.0) for seed in range(2)]
    assert rows(suite, runs)["plain"][-1].selected == "fixed 0.5 / 1.5"


def test_a_candidate_that_diverged_is_not_eligible(suite: Suite) -> None:
    runs = [run(suite, "sum", seed, 90.0, validation=50.0) for seed in range(2)]
    runs += [run(suite, "fixed 0.5 / 1.5", 0, 40.0, validation=70.0)]
    runs += [run(suite, "fixed 0.5 / 1.5", 1, 40.0, validation=70.0, status="diverged")]
    chosen = rows(suite, runs)["plain"][-1]
    assert (chosen.selected, chosen.selected_from) == ("sum", ("sum",))


def test_a_group_that_was_not_run_whole_has_no_row_and_says_what_is_missing(suite: Suite) -> None:
    runs = [run(suite, "sum", seed, 90.0, validation=50.0) for seed in range(2)]
    assert [row.label for row in rows(suite, runs)["plain"]] == ["sum"]
    found = " ".join(notes(Results(suite, tuple(runs), 0, rows(suite, runs))))
    assert "No row `tuned weights` in plain: no runs of fixed 0.5 / 1.5." in found


def test_a_group_without_an_eligible_candidate_says_so(suite: Suite) -> None:
    runs = [run(suite, label, 0, 90.0, status="diverged") for label in ("sum", "fixed 0.5 / 1.5")]
    assert [row.label for row in rows(suite, runs)["plain"]] == ["sum", "fixed 0.5 / 1.5"]
    found = " ".join(notes(Results(suite, tuple(runs), 0, rows(suite, runs))))
    assert "No row `tuned weights` in plain: no candidate ended ok on every seed, with a validation score" in found


def test_a_group_of_candidates_that_share_no_seed_says_so(suite: Suite) -> None:
    runs = [run(suite, "sum", 0, 90.0), run(suite, "fixed 0.5 / 1.5", 1, 90.0)]
    assert [row.label for row in rows(suite, runs)["plain"]] == ["sum", "fixed 0.5 / 1.5"]
    found = " ".join(notes(Results(suite, tuple(runs), 0, rows(suite, runs))))
    assert "No row `tuned weights` in plain: its candidates have no seed in common." in found


def test_far_apart_seeds_are_listed(suite: Suite) -> None:
    runs = [run(suite, "sum", seed, 60.0) for seed in (0, 1, 2**62)]
    assert f"Seeds 0, 1, {2**62};" in notes(Results(suite, tuple(runs), 0, rows(suite, runs)))[0]


def test_a_difference_over_fewer_seeds_than_the_mean_says_over_how_many(suite: Suite) -> None:
    runs = [run(suite, "sum", seed, 60.0, status="diverged" if seed == 1 else "ok") for seed in range(3)]
    runs += [run(suite, label, seed, 62.0) for label in ("GH++ rotation", "slow") for seed in range(3)]
    text = markdown(Results(suite, tuple(runs[:-1]), 0, rows(suite, runs[:-1])))
    assert "| GH++ rotation | 62.00 ± 0 | +2.000 [+2.000, +2.000] (n = 2) |" in text
    assert "| slow | 62.00 ± 0 | +2.000 (n = 1) |" in text


def test_a_label_with_a_bar_keeps_the_table_whole(suite: Suite) -> None:
    renamed = suite.methods[1].model_copy(update={"label": "a|b"})
    suite = suite.model_copy(update={"methods": [renamed], "baseline": "a|b"})
    runs = [run(suite, "a|b", 0, 60.0)]
    assert "| a\\|b | 60.00 |" in markdown(Results(suite, tuple(runs), 0, rows(suite, runs)))


def test_brackets_in_titles_and_labels_are_text(suite: Suite) -> None:
    renamed = suite.methods[1].model_copy(update={"label": "[red]sum[/]"})
    arm = suite.arms[0].model_copy(update={"title": "plain [bold]"})
    suite = suite.model_copy(update={"methods": [renamed], "baseline": "[red]sum[/]", "arms": [arm]})
    runs = [run(suite, "[red]sum[/]", 0, 60.0)]
    console = Console(width=140, record=True, file=io.StringIO())
    show(Results(suite, tuple(runs), 0, rows(suite, runs)), console)
    text = console.export_text()
    assert "plain [bold]" in text
    assert text.count("[red]sum[/]") == 5, "verdict, heading, row, row of the group, note"


def test_the_metric_shown_is_the_first_of_the_suite_whatever_a_run_calls_its_own(suite: Suite) -> None:
    suite = Suite.model_validate({**dict(suite), "metrics": {"loss": "min"}})
    runs = [run(suite, label, seed, 60.0 + seed) for label in ("sum", "GH++ rotation") for seed in range(4)]
    runs = [one.model_copy(update={"metric": "loss"}) if one.seed > 1 else one for one in runs]  # the rest: accuracy
    found = Results(suite, tuple(runs), 0, rows(suite, runs))
    assert found.metric == "loss"
    assert headings(found)[1] == "final loss"
    row = found.rows["plain"][0]
    assert row.final == spread(pd.Series([40.0, 39.0, 38.0, 37.0]))
    assert row.best is None, "of these runs only the accuracy at the best validation is known"
    bars = final_bars(found, found.arms[0])
    assert {value for trace in bars.data if trace.type == "scatter" for value in trace.x} == {40.0, 39.0, 38.0, 37.0}


def test_a_metric_that_no_run_has_is_shown_as_missing(suite: Suite) -> None:
    suite = Suite.model_validate({**dict(suite), "metrics": {"acuracy": "max"}})
    runs = [run(suite, "sum", seed, 60.0) for seed in range(2)]
    found = Results(suite, tuple(runs), 0, rows(suite, runs))
    assert headings(found)[1] == "final acuracy"
    assert found.rows["plain"][0].final is None
    assert "| sum | \N{EN DASH} | \N{EN DASH} |" in markdown(found)
    assert render(found)


def test_a_run_whose_best_step_has_no_main_metric_has_a_row(suite: Suite) -> None:
    one = run(suite, "sum", 0, 60.0)
    assert one.metrics is not None
    older = one.model_copy(update={"metrics": one.metrics.model_copy(update={"best": {"train loss": 0.1}})})
    (row, *_) = rows(suite, [older])["plain"]
    assert row.final is not None
    assert row.best is None


def test_a_comparison_without_a_title_is_headed_by_its_name(suite: Suite) -> None:
    suite = suite.model_copy(update={"title": ""})
    runs = [run(suite, "sum", 0, 60.0)]
    found = Results(suite, tuple(runs), 0, rows(suite, runs))
    assert markdown(found).startswith("# small\n")
    page = render(found)
    assert "<h1>small</h1>" in page
    assert "<title>small</title>" in page
