"""The paper's tables: every average that is printed is the mean of the figures beside it, or listed as not being so."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from benchmarks.__main__ import SUITES, published
from benchmarks.paper import FOLDER, NUMBERS, beside, table
from mtlgrad import catalog
from mtlgrad.compare.suite import load as load_suite
from tasks.uda.systems import SYSTEMS
from tests.compare.runs import run

HALF_A_UNIT = 0.05 + 1e-9
"""Figures have one decimal."""


def test_there_is_a_file_for_every_table_and_no_other() -> None:
    assert sorted(path.name for path in FOLDER.glob("*.json")) == [f"table{number}.json" for number in NUMBERS]
    assert [table(number).table for number in NUMBERS] == list(NUMBERS)
    with pytest.raises(ValueError, match="number=9 is no table of the paper; allowed: 1 to 8"):
        table(9)


@pytest.mark.parametrize("number", NUMBERS)
def test_rows_have_the_columns_of_their_table(number: int) -> None:
    shown = table(number)
    allowed = [*shown.columns, *shown.averages]
    for row in shown.rows:
        assert set(row.values) <= set(allowed), row.label
        # a row that leaves a column out leaves out the averages over it
        for average, parts in shown.averages.items():
            assert (average in row.values) == (set(parts) <= set(row.values)), (row.label, average)
    assert max(Counter(row.label for row in shown.rows).values()) == 1
    assert all(set(parts) <= set(shown.columns) for parts in shown.averages.values())


@pytest.mark.parametrize("number", [number for number in NUMBERS if number != 6])
def test_figures_are_percentages_with_one_decimal(number: int) -> None:
    for row in table(number).rows:
        for value in row.values.values():
            assert 0 <= value <= 100
            assert round(value, 1) == value


@pytest.mark.parametrize("number", NUMBERS)
def test_printed_averages_are_means_unless_listed(number: int) -> None:
    shown = table(number)
    listed = {(one.row, one.average): one for one in shown.disagreements}
    assert len(listed) == len(shown.disagreements)
    for row in shown.rows:
        for average, parts in shown.averages.items():
            if average not in row.values:
                continue
            mean = sum(row.values[part] for part in parts) / len(parts)
            found = listed.pop((row.label, average), None)
            if found is None:
                assert abs(mean - row.values[average]) <= HALF_A_UNIT, (row.label, average)
            else:
                assert abs(mean - row.values[average]) > HALF_A_UNIT, (row.label, average)
                assert found.printed == row.values[average]
                assert found.computed == pytest.approx(mean, abs=0.006)
    assert not listed


def test_the_gains_that_the_text_states_are_those_of_the_tables() -> None:
    """Section 4.3: by how much GH and GH++ outperform CDAN, MCD, GVB, DWL and SSRT, and where."""
    said = {
        (1, "Avg‡"): [(1.5, 2.2), (1.0, 1.4), (0.7, 0.8), (0.2, 0.7), (0.7, 0.9)],
        (2, "Avg‡"): [(2.6, 3.2), (3.5, 4.1), (0.4, 0.6), (0.8, 1.2), (0.6, 0.8)],
        (3, "Avg"): [(0.9, 0.9), (2.2, 2.4), (0.6, 0.9), (1.1, 1.3), (0.3, 0.3)],
        (4, "Synthetic→Real"): [(1.4, 3.9), (4.1, 4.5), (0.7, 1.3), (0.5, 0.8), (0.7, 0.6)],
        (5, "Avg"): [(3.2, 3.7), (7.1, 7.3), (1.0, 1.3), (0.7, 1.0), (1.1, 1.4)],
    }
    for (number, column), gains in said.items():
        values = {row.label: row.values[column] for row in table(number).rows if column in row.values}
        for base, (first, second) in zip(("CDAN", "MCD", "GVB", "DWL", "SSRT*"), gains, strict=True):
            assert values[f"{base}+GH"] - values[base] == pytest.approx(first, abs=1e-9), (number, base)
            assert values[f"{base}+GH++"] - values[base] == pytest.approx(second, abs=1e-9), (number, base)


def test_the_differences_of_table_6_are_those_of_its_rows() -> None:
    before, after, difference = (row.values for row in table(6).rows)
    for column, value in difference.items():
        assert after[column] - before[column] == pytest.approx(value, abs=1e-5)
    tables = {row.label: row.values for row in table(3).rows}
    assert [before["M→U accuracy"], before["U→M accuracy"]] == [tables["MCD"]["M→U"], tables["MCD"]["U→M"]]
    assert [after["M→U accuracy"], after["U→M accuracy"]] == [tables["MCD+GH"]["M→U"], tables["MCD+GH"]["U→M"]]


def test_names_of_systems_and_aggregations_exist_here() -> None:
    systems, aggregations = set(SYSTEMS), set(catalog.names())
    for number in NUMBERS:
        for row in table(number).rows:
            assert row.aggregation is None or row.aggregation in aggregations
            assert row.system is None or row.system in systems


CELL: dict[str, Any] = {
    "suite": "digits-paper",
    "arm": "mnist-to-usps",
    "problem_options": {
        "method": "cdan_e",
        "variant": "principled",
        "recipe": "published",
        "protocol": "full",
        "backbone": "lenet",
        "batch_size": 64,
        "steps": 50_000,
    },
    "method": "gh",
    "method_args": {},
}


def test_a_figure_stands_beside_ours_only_where_data_and_protocol_are_the_papers() -> None:
    options = CELL["problem_options"]
    assert beside(**CELL) == 96.8
    assert beside(**CELL | {"method": "sum"}) == 95.6
    for changed in (
        {"suite": "digits"},
        {"arm": "font-to-optical"},
        {"method": "pcgrad"},
        {"method": "ghpp", "method_args": {"form": "rotation"}},
        {"problem_options": options | {"steps": 10}},
        {"problem_options": options | {"protocol": "held-out"}},
        {"problem_options": options | {"method": "mcd"}},
        {"problem_options": {name: value for name, value in options.items() if name != "recipe"}},
    ):
        assert beside(**CELL | changed) is None, changed


def test_one_backbone_of_a_table_is_never_taken_for_another() -> None:
    options = {"method": "ssrt", "variant": "principled", "recipe": "published", "backbone": "resnet50", "steps": 10**6}
    cell = {"suite": "office31", "arm": "amazon-to-webcam", "method": "gh", "method_args": {}}
    assert beside(problem_options=options, **cell) is None  # the table's SSRT is a ViT
    assert beside(problem_options=options | {"method": "mcd"}, **cell) == 91.4


SUITE_OF = {1: "office31", 2: "office-home", 3: "digits-paper", 5: "domainnet"}


@pytest.mark.parametrize("number", SUITE_OF)
def test_the_paper_suites_are_those_that_figures_stand_beside(number: int) -> None:
    """Every figure of a harmonised CNN that can stand beside a cell of the suite does, and no other."""
    suite = load_suite(SUITES / f"{SUITE_OF[number]}.toml")
    shown = table(number)
    (setting,) = shown.settings
    assert set(setting.arms) <= {arm.name for arm in suite.arms}
    found = {}
    for arm in suite.arms:
        for row in suite.methods:
            options = suite.options_of(arm, row)
            cell = {"suite": suite.name, "arm": arm.name, "method": row.method, "method_args": row.args}
            figure = beside(problem_options=options, **cell)
            if figure is not None:
                found[row.label, setting.arms[arm.name]] = figure
    systems = ["CDAN"] if number == 3 else ["CDAN", "MCD", "DWL", "GVB"]
    rows = {row.label: row.values for row in shown.rows}
    expected = {
        (system + suffix, column): rows[system + suffix][column]
        for system in systems
        for suffix in ("", "+GH", "+GH++")
        for column in setting.arms.values()
    }
    assert {key: value for key, value in found.items() if key[0] != "source only"} == expected


def test_the_report_is_given_the_papers_figure_of_a_run_and_of_no_shorter_one() -> None:
    suite = load_suite(SUITES / "office31.toml")
    for shown, expected in ((suite, 91.4), (suite.restricted(steps=10), None)):
        made = run(shown, "MCD+GH", 0, 50.0).model_copy(update={"arm": "amazon-to-webcam"})
        assert published(made) == expected
