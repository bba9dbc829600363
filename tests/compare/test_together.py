"""All metrics and arms together: what a reader takes from the table, the trade-offs and the profiles."""

from __future__ import annotations

import numpy as np
import pytest

from mtlgrad.compare.report.profiles import performance_profiles
from mtlgrad.compare.report.tradeoff import trade_offs
from mtlgrad.compare.results import Results
from mtlgrad.compare.rows import rows
from mtlgrad.compare.schema import Run
from mtlgrad.compare.scores import with_verdicts
from mtlgrad.compare.sentences import headline, limitations, more, sentence
from mtlgrad.compare.suite import Suite
from mtlgrad.compare.together import together
from tests.compare.runs import run


def results(suite: Suite, runs: list[Run], **changed: object) -> Results:
    suite = Suite.model_validate({**dict(suite), **changed})
    return Results(suite, tuple(runs), 0, with_verdicts(suite, rows(suite, runs), runs))


def runs_of(suite: Suite, scores: dict[str, list[float]]) -> list[Run]:
    return [run(suite, label, seed, value) for label, values in scores.items() for seed, value in enumerate(values)]


TWO = {"metrics": {"accuracy": {"direction": "max", "unit": "%", "margin": 1.0}, "loss": "min"}}
FAILED = {"status": "failed", "reason": "a full disk", "metrics": None}
SCORES = {"sum": [60.0, 61.0, 59.0], "GH++ rotation": [72.1, 72.9, 71.0], "fixed 0.5 / 1.5": [50.0, 51.5, 49.0]}


def test_the_table_of_all_metrics_is_the_formulas_on_the_runs(suite: Suite) -> None:
    found = together(results(suite, runs_of(suite, SCORES), **TWO))
    assert found is not None
    lines = {line[0]: line[1:] for line in found.lines}
    # loss is 100 - accuracy in these runs
    change = 100 * np.mean([(72 - 60) / 60, (40 - 28) / 40])
    assert float(lines["GH++ rotation"][0].split()[0]) == pytest.approx(change, abs=0.1)
    ranks = [float(lines[name][1]) for name in ("GH++ rotation", "sum", "fixed 0.5 / 1.5")]
    assert ranks[0] == 1.0 < ranks[1] < ranks[2]
    assert lines["GH++ rotation"][3].startswith("1.00")
    assert lines["fixed 0.5 / 1.5"][3].startswith("0.00")
    assert lines["sum"][0] == lines["sum"][3] == "\N{EN DASH}"
    assert "Maninis" in found.note


def test_a_method_that_fails_costs_the_others_no_rank_and_is_named(suite: Suite) -> None:
    runs = runs_of(suite, SCORES)
    failed = [one if one.label != "GH++ rotation" or one.seed != 1 else one.model_copy(update=FAILED) for one in runs]
    found, whole = together(results(suite, failed, **TWO)), together(results(suite, runs, **TWO))
    assert found is not None
    assert whole is not None
    lines = {line[0]: line[1:] for line in found.lines}
    assert lines["GH++ rotation"][1:] == ["\N{EN DASH}"] * 3
    assert lines["GH++ rotation"][0].endswith("(n = 2)")
    assert "GH++ rotation has no result of 1 of its runs" in found.note
    beats = {line[0]: line[-1] for line in whole.lines}
    assert lines["fixed 0.5 / 1.5"][-1] == beats["fixed 0.5 / 1.5"]
    assert found.ranks.blocks == 3


def test_one_method_alone_has_no_table(suite: Suite) -> None:
    alone = Suite.model_validate({**dict(suite), "methods": [suite.methods[1].model_copy(update={"group": None})]})
    assert together(results(alone, runs_of(alone, {"sum": [1.0, 2.0]}))) is None


def test_the_front_is_named_and_drawn(suite: Suite) -> None:
    found = results(suite, runs_of(suite, SCORES), **TWO)
    ((caption, figure),) = trade_offs(found, found.arms[0])
    assert "than: GH++ rotation." in caption
    assert figure.layout.xaxis.title.text.startswith("accuracy (%)")
    assert trade_offs(results(suite, runs_of(suite, SCORES)), found.arms[0]) == []


def test_profiles_need_several_arms(suite: Suite) -> None:
    runs = runs_of(suite, SCORES)
    assert performance_profiles(results(suite, runs)) is None
    both = runs + [one.model_copy(update={"arm": "biased"}) for one in runs]
    figure = performance_profiles(results(suite, both))
    assert figure is not None
    best = next(trace for trace in figure.data if trace.name == "GH++ rotation")
    others = [trace for trace in figure.data if trace.name != "GH++ rotation"]
    assert all((np.array(best.y) >= np.array(trace.y)).all() for trace in others)


def test_the_first_line_says_what_was_found(suite: Suite) -> None:
    found = results(suite, runs_of(suite, SCORES))
    text = headline(found)
    assert text.startswith("Better than sum: GH++ rotation")
    assert "All decided: 1 comparison with sum, 3 seeds" in text
    row = next(row for row in found.rows["plain"] if row.label == "GH++ rotation")
    assert sentence(found, row).startswith("GH++ rotation: better, +12.00 [")
    assert more(found) == []


def test_two_seeds_decide_little_and_the_report_says_what_to_run(suite: Suite) -> None:
    few = {"sum": [60.0, 62.0], "GH++ rotation": [61.0, 62.5]}
    found = results(suite, runs_of(suite, few))
    assert headline(found) == (
        "Undecided: 1 comparison with sum, 2 seeds, and not one shows a method better, worse or equivalent."
    )
    told = " ".join(more(found))
    assert "`--seeds " in told
    assert "margin" in told
    assert any("Nothing was tuned" in text for text in limitations(found))
    assert any("noise" in text or "rounding" in text for text in limitations(found))


def test_one_seed_is_told_to_become_more(suite: Suite) -> None:
    found = results(suite, runs_of(suite, {"sum": [60.0], "GH++ rotation": [70.0]}))
    assert any("`--seeds 5`" in text for text in more(found))


def test_small_losses_and_large_scores_print_to_their_digits(suite: Suite) -> None:
    from mtlgrad.compare.table import markdown

    small = {"sum": [0.0031, 0.0032, 0.0030], "GH++ rotation": [0.0021, 0.0022, 0.0024]}
    text = markdown(results(suite, runs_of(suite, small)))
    assert "| 0.00310 ± 0.00010 |" in text
    assert "| 0.00223 ± 0.00015 |" in text


def test_published_figures_stand_beside_rows_that_have_one(suite: Suite) -> None:
    from mtlgrad.compare.report.page import render
    from mtlgrad.compare.table import markdown

    found = results(suite, runs_of(suite, SCORES))
    text = markdown(found, lambda one: 91.4 if one.label == "GH++ rotation" else None)
    assert "| GH++ rotation | plain | 72.00 \N{PLUS-MINUS SIGN} 0.95 | 91.4 |" in text
    assert "published" not in markdown(found)
    assert markdown(found, lambda one: float(one.seed)).count("published") == 0, "one figure for all seeds, or none"
    assert "Beside published figures" in render(found, lambda one: 91.4)
    assert "Beside published figures" not in render(found)


def test_a_published_figure_stands_beside_no_other_metric(suite: Suite) -> None:
    from mtlgrad.compare.beside import published_lines

    other = results(suite, runs_of(suite, SCORES), metrics={"loss": "min"})
    assert published_lines(other, lambda one: 91.4) == [], "the figure is one of accuracy"


@pytest.mark.parametrize("scale", [1e-15, 1e20])
def test_very_small_and_very_large_losses_print_to_their_digits(suite: Suite, scale: float) -> None:
    from mtlgrad.compare.table import cells

    def at_scale(one: Run) -> Run:
        assert one.metrics is not None
        value = one.metrics.final["accuracy"]
        assert value is not None
        return one.model_copy(update={"metrics": one.metrics.model_copy(update={"final": {"loss": value * scale}})})

    runs = [at_scale(one) for one in runs_of(suite, {"sum": [1.0, 1.1, 1.2], "GH++ rotation": [2.0, 2.13, 2.26]})]
    found = results(suite, runs, metrics={"loss": "min"})
    power = f"e{int(np.log10(scale))}".replace("-", "\N{MINUS SIGN}")
    row = next(row for row in found.rows["plain"] if row.label == "GH++ rotation")
    assert cells(found, row)[1:3] == [f"2.13{power} ± 0.13{power}", f"+1.030{power} [+0.955{power}, +1.105{power}]"]
    assert sentence(found, row) == f"GH++ rotation: worse, +1.030{power} [+0.955{power}, +1.105{power}] loss."


def with_single_tasks(suite: Suite, *more: dict[str, object]) -> Suite:
    def only(name: str, weights: list[float]) -> dict[str, object]:
        return {"label": f"only {name}", "method": "fixed", "args": {"weights": weights}, "role": "reference"}

    rows_of = [{"label": "sum", "method": "sum"}, {"label": "GH", "method": "gh"}]
    rows_of += [only("a", [1.0, 0.0]), only("b", [0.0, 1.0]), *more]
    return Suite.model_validate({**dict(suite), "controls": ["single task"], "methods": rows_of})


def changes(found: Results) -> dict[str, str]:
    table = together(found)
    assert table is not None
    return {line[0]: line[1] for line in table.lines}


def test_single_task_runs_that_diverged_are_no_reference(suite: Suite) -> None:
    suite = with_single_tasks(suite)
    scores = {"sum": [80.0, 81.0, 82.0], "GH": [85.0, 85.0, 85.5], "only b": [80.0, 80.0, 80.0]}
    runs = runs_of(suite, scores)
    diverged = [run(suite, "only a", seed, 95.0, status="diverged") for seed in range(3)]
    found = results(suite, runs + diverged)
    table = together(found)
    assert table is not None
    assert table.reference == "single task"
    assert changes(found)["sum"].startswith("+1."), "against 80 of only b, not 95 of a run that diverged"
    one = [run(suite, "only b", seed, 95.0, status="diverged" if seed == 2 else "ok") for seed in range(3)]
    partly = together(results(suite, [each for each in runs if each.label != "only b"] + one))
    assert partly is not None
    assert partly.reference == "single task"
    none = together(results(suite, [each for each in runs if each.label != "only b"] + diverged))
    assert none is not None
    assert none.reference == "sum", "without a single-task run that ended well there is no such reference"


@pytest.mark.parametrize("role", ["method", "reference"])
def test_a_method_that_is_called_only_something_is_no_single_task_reference(suite: Suite, role: str) -> None:
    suite = with_single_tasks(suite, {"label": "only heads", "method": "gh", "role": role})
    scores = {"sum": [80.0, 81.0], "GH": [84.0, 85.0], "only a": [79.0, 79.0], "only b": [80.0, 80.0]}
    own = {"only heads": [99.0, 99.5]}
    alone = changes(results(suite, runs_of(suite, scores)))
    assert changes(results(suite, runs_of(suite, scores | own)))["sum"] == alone["sum"]
    without = {label: values for label, values in scores.items() if not label.startswith("only")}
    table = together(results(suite, runs_of(suite, without | own)))
    assert table is not None
    assert table.reference == "sum"


def test_an_arm_without_a_good_single_task_run_leaves_the_baseline_as_reference(suite: Suite) -> None:
    suite = with_single_tasks(suite)
    runs = runs_of(suite, {"sum": [80.0, 81.0], "GH": [84.0, 85.5], "only a": [79.0, 79.0], "only b": [80.0, 80.0]})
    elsewhere = [one.model_copy(update={"arm": "biased"}) for one in runs if not one.label.startswith("only")]
    table = together(results(suite, runs + elsewhere))
    assert table is not None
    assert table.reference == "sum"
    assert table.lines[1][1] != "\N{EN DASH}"
