"""Verdicts in words: against whom, and what to do where nothing was decided."""

from __future__ import annotations

import pytest

from mtlgrad.compare.report.page import render
from mtlgrad.compare.results import Results
from mtlgrad.compare.rows import rows
from mtlgrad.compare.schema import Run
from mtlgrad.compare.scores import with_verdicts
from mtlgrad.compare.sentences import headline, limitations, more, sentence
from mtlgrad.compare.suite import Suite
from mtlgrad.compare.table import cells, markdown
from tests.compare.runs import run

NOISE = [0.1, -0.2, 0.15, -0.05, 0.02]


def suite_of(suite: Suite, *methods: dict[str, object], **changed: object) -> Suite:
    changed.setdefault("metrics", {"accuracy": "max"})
    return Suite.model_validate({**dict(suite), "methods": [{"label": "sum", "method": "sum"}, *methods], **changed})


def results(suite: Suite, runs: list[Run]) -> Results:
    return Results(suite, tuple(runs), 0, with_verdicts(suite, rows(suite, runs), runs))


def runs_of(suite: Suite, label: str, mean: float, sign: float = 0.0, **changed: object) -> list[Run]:
    return [run(suite, label, seed, mean + seed + sign * NOISE[seed], **changed) for seed in range(5)]


def frozen(label: str) -> dict[str, object]:
    return {"label": f"frozen {label}", "method": "fixed", "role": "control", "against": label}


def gh(label: str) -> dict[str, object]:
    return {"label": label, "method": "gh"}


def failed(suite: Suite, label: str, seed: int) -> Run:
    return run(suite, label, seed, 0.0, status="failed").model_copy(update={"metrics": None, "metric": ""})


def test_a_row_judged_against_another_is_never_said_to_be_better_than_the_baseline(suite: Suite) -> None:
    suite = suite_of(suite, gh("gh"), frozen("gh"))
    found = results(
        suite, runs_of(suite, "sum", 80) + runs_of(suite, "gh", 74, 1.0) + runs_of(suite, "frozen gh", 78, -1.0)
    )
    assert headline(found) == (
        "No method is better than sum. Worse: gh. All decided: 1 comparison with sum, 5 seeds. "
        "Better than gh: frozen gh. All decided: 1 comparison with gh, 5 seeds."
    )
    row = next(row for row in found.rows["plain"] if row.label == "frozen gh")
    assert cells(found, row)[2].startswith("\N{MINUS SIGN}2.00"), (
        "the difference is to the baseline, as its heading says"
    )
    assert cells(found, row)[3] == "better than gh"
    assert sentence(found, row).startswith("frozen gh: better against gh, +")
    assert [cells(found, row)[3] for row in found.rows["plain"]][:2] == ["\N{EN DASH}", "worse"]
    text = markdown(found)
    assert "| better than gh |" in text
    assert "A verdict that names another row is against that row; all differences in the tables are to sum." in text
    assert '<span class="word better">better than gh</span>' in render(found)


def test_rows_judged_against_several_others_are_counted_apart(suite: Suite) -> None:
    margin = {"metrics": {"accuracy": {"direction": "max", "margin": 0.5}}}
    labels = ["a", "b", "c"]
    suite = suite_of(suite, *(gh(label) for label in labels), *(frozen(label) for label in labels), **margin)
    runs = runs_of(suite, "sum", 80)
    for label, mean in zip(labels, (84, 84, 84), strict=True):
        runs += runs_of(suite, label, mean, 1.0)
    runs += runs_of(suite, "frozen a", 86, -1.0) + runs_of(suite, "frozen b", 82, -1.0) + runs_of(suite, "frozen c", 84)
    found = results(suite, runs)
    assert headline(found) == (
        "Better than sum: a, b and c. All decided: 3 comparisons with sum, 5 seeds. Better than a: frozen a. "
        "Worse than b: frozen b. Equivalent to c within the margin: frozen c. "
        "All decided: 3 comparisons with other rows, 5 seeds."
    )
    row = next(row for row in found.rows["plain"] if row.label == "frozen c")
    assert cells(found, row)[3] == "equivalent to c"


def test_many_rows_judged_against_others_are_not_all_named(suite: Suite) -> None:
    labels = [f"m{k}" for k in range(8)]
    suite = suite_of(suite, *(gh(label) for label in labels), *(frozen(label) for label in labels))
    runs = runs_of(suite, "sum", 80)
    for label in labels:
        runs += runs_of(suite, label, 84, 0.1) + runs_of(suite, f"frozen {label}", 90, -0.1)
    text = headline(results(suite, runs))
    assert text.count("Better than m") == 4
    assert "4 more in the tables. All decided: 8 comparisons with other rows, 5 seeds." in text


def test_where_all_are_judged_against_another_row_the_baseline_is_not_spoken_of_as_beaten(suite: Suite) -> None:
    suite = suite_of(suite, gh("gh"), frozen("gh"))
    twin = suite.methods[1].model_copy(update={"role": "reference"})
    suite = suite.model_copy(update={"methods": [suite.methods[0], twin, suite.methods[2]]})
    runs = runs_of(suite, "sum", 80) + runs_of(suite, "gh", 74, 1.0) + runs_of(suite, "frozen gh", 74.5, -1.0)
    text = headline(results(suite, runs))
    assert text.startswith("Nothing is compared with sum itself. Undecided: 1 of 1 comparison with gh, ")
    row = results(suite, runs).rows["plain"][2]
    assert cells(results(suite, runs), row)[3].startswith("undecided against gh")


@pytest.mark.parametrize("label", ["better gh", "undecided"])
def test_a_label_that_begins_like_a_verdict_is_a_label(suite: Suite, label: str) -> None:
    suite = suite_of(suite, gh(label))
    page = render(results(suite, runs_of(suite, "sum", 80) + runs_of(suite, label, 84, 1.0)))
    assert f'">{label}</span>' not in page


def test_a_method_that_failed_on_all_seeds_is_not_told_to_run_the_seeds_that_were_run(suite: Suite) -> None:
    suite = suite_of(suite, gh("gh"))
    runs = runs_of(suite, "sum", 80) + [failed(suite, "gh", seed) for seed in range(5)]
    found = results(suite, runs)
    told = more(found)
    assert told[0].startswith("No finished pairs, and so nothing to judge: gh failed on 5 of 5")
    assert not any("`--seeds" in text for text in told)
    assert "0 seeds" not in " ".join([headline(found), *told, *limitations(found)])


@pytest.mark.parametrize("who", ["sum", "gh"])
def test_a_pair_without_results_names_who_has_none_and_where(suite: Suite, who: str) -> None:
    suite = suite_of(suite, gh("gh"))
    other = "gh" if who == "sum" else "sum"
    runs = [failed(suite, who, seed) for seed in range(3)]
    runs += [run(suite, who, seed, 1.0, status="diverged") for seed in (3, 4)]
    runs += [failed(suite, other, seed) for seed in (3, 4)] + runs_of(suite, other, 80)[:3]
    elsewhere = [
        one.model_copy(update={"arm": "biased"}) for label in ("sum", "gh") for one in runs_of(suite, label, 80)
    ]
    told = more(results(suite, runs + elsewhere))
    assert f"{who} diverged on 2 and failed on 3 of 5 (plain)" in told[0]


def test_methods_that_share_no_seed_are_said_to(suite: Suite) -> None:
    suite = suite_of(suite, gh("gh"))
    runs = runs_of(suite, "sum", 80)[:2] + runs_of(suite, "gh", 80)[3:]
    assert "gh and sum have no seed in common" in more(results(suite, runs))[0]


def test_a_metric_that_no_run_has_is_named(suite: Suite) -> None:
    suite = suite_of(suite, gh("gh"), metrics={"acuracy": "max"})
    found = results(suite, runs_of(suite, "sum", 80) + runs_of(suite, "gh", 80))
    assert "no run of gh has a finite acuracy" in more(found)[0]


def test_few_finished_pairs_of_many_seeds_name_what_went_wrong(suite: Suite) -> None:
    suite = suite_of(suite, gh("gh"))
    runs = runs_of(suite, "sum", 80) + runs_of(suite, "gh", 81)[:1] + [failed(suite, "gh", k) for k in range(1, 5)]
    told = more(results(suite, runs))
    assert told[0].startswith("1 finished pair decides nothing: gh failed on 4 of 5")
    assert not any("`--seeds" in text for text in told)


def test_more_seeds_are_more_than_were_run(suite: Suite) -> None:
    suite = suite_of(suite, gh("gh"))
    runs = [run(suite, "sum", seed, 80.0 + seed) for seed in range(9)]
    runs += [run(suite, "gh", seed, 80.0 + seed + value) for seed, value in enumerate([0.9, 0.5, 1.2])]
    runs += [failed(suite, "gh", seed) for seed in range(3, 9)]
    found = results(suite, runs)
    verdict = next(iter(found.rows["plain"][1].verdicts.values()))
    assert verdict.seeds_to_decide is not None
    assert verdict.seeds_to_decide < 9, "of finished pairs, of which these runs have fewer than seeds"
    assert any("Run more with `--seeds 10`" in text for text in more(found))


def test_one_seed_is_spoken_of_as_one(suite: Suite) -> None:
    suite = suite_of(suite, gh("gh"))
    told = more(results(suite, [run(suite, "sum", 0, 60.0), run(suite, "gh", 0, 70.0)]))
    assert told[0] == (
        "1 seed of these shows no spread and decides nothing: run at least 5 with `--seeds 5`; what is there is kept."
    )
