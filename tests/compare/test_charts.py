"""The figures of the report: what a reader takes from them."""

from __future__ import annotations

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
