"""The figures of the report: what a reader takes from them."""

from __future__ import annotations

from mtlgrad.compare.progress import describe
from mtlgrad.compare.report.charts import curves, final_bars, step_time_bars
from mtlgrad.compare.results import Results
from mtlgrad.compare.rows import rows
from mtlgrad.compare.schema import Run
from mtlgrad.compare.suite import Suite
from tests.compare.runs import run


def results(suite: Suite, runs: list[Run]) -> Results:
    return Results(suite, tuple(runs), 0, rows(suite, runs))


def test_a_curve_on_another_is_dotted_so_that_both_are_seen(suite: Suite) -> None:
    runs = [run(suite, "sum", seed, 60.0, curve=[50.0, 60.0 + seed]) for seed in range(2)]
    runs += [run(suite, "GH++ rotation", seed, 60.0, curve=[50.0, 60.0 + seed]) for seed in range(2)]
    runs += [run(suite, "slow", seed, 61.0, curve=[50.0, 61.0 + seed]) for seed in range(2)]
    found = results(suite, runs)
    lines = {trace.name: trace.line.dash for trace in curves(found, found.arms[0]).data if trace.name}
    assert lines == {"sum": "solid", "GH++ rotation": "dot", "slow": "dash"}


def test_both_bar_charts_have_the_same_bars(suite: Suite) -> None:
    labels = [row.label for row in suite.methods]
    runs = [run(suite, label, seed, 60.0 + seed, ms=10.0 + k) for k, label in enumerate(labels) for seed in range(2)]
    found = results(suite, runs)
    arm = found.arms[0]
    finals, times = final_bars(found, arm), step_time_bars(found, arm)
    assert [name for trace in finals.data if trace.type == "bar" for name in trace.y] == list(times.data[0].y)
    assert finals.layout.height == times.layout.height
    assert any(name.startswith("tuned weights:") for name in times.data[0].y)
    references = {row.label for row in suite.methods if row.role == "reference"}
    assert not references & set(times.data[0].y)


def test_a_bar_of_one_seed_has_no_deviation(suite: Suite) -> None:
    found = results(suite, [run(suite, "sum", 0, 60.0)])
    bars = [trace for trace in final_bars(found, found.arms[0]).data if trace.type == "bar"]
    assert bars
    assert not any("\N{PLUS-MINUS SIGN}" in bar.hovertemplate or any(bar.error_x.array) for bar in bars)


def test_bars_and_console_print_a_small_metric_to_its_digits(suite: Suite) -> None:
    values = {"slow": 0.0052, "sum": 0.0031, "GH++ rotation": 0.0021}
    runs = [run(suite, label, seed, value + 0.0001 * seed) for label, value in values.items() for seed in range(3)]
    found = results(suite, runs)
    figure = final_bars(found, found.arms[0])
    texts = {note.text for note in figure.layout.annotations}
    assert {"0.00320", "0.00220"} <= texts
    assert any(text.startswith("slow 0.00530") for text in texts)
    hovers = [trace.hovertemplate for trace in figure.data]
    assert any("0.00320 ± 0.00010 (n = 3)" in hover for hover in hovers)
    dots = [trace for trace in figure.data if trace.type == "scatter"]
    assert [text for _, text in dots[0].customdata] == ["0.00310", "0.00320", "0.00330"]
    assert "accuracy 0.003100  (" in describe(runs[3])


def test_the_console_names_the_metric_that_is_judged(suite: Suite) -> None:
    assert "loss 40.00  (" in describe(run(suite, "sum", 0, 60.0), "loss")
    assert "no result  (" in describe(run(suite, "sum", 0, 60.0), "speed")


def test_short_steps_and_long_labels_have_room(suite: Suite) -> None:
    runs = [run(suite, label, seed, 123456.789, ms=0.0123) for label in ("sum", "GH++ rotation") for seed in range(2)]
    found = results(suite, runs)
    arm = found.arms[0]
    assert step_time_bars(found, arm).data[0].customdata[0] == "0.01230"
    short = results(suite, [run(suite, "sum", 0, 6.0)])
    assert final_bars(found, arm).layout.margin.r > final_bars(short, arm).layout.margin.r
