"""The paper's tables: every average that is printed is the mean of the figures beside it, or listed as not being so."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.paper import FOLDER, NUMBERS, table
from mtlgrad import catalog
from tasks.uda.systems import SYSTEMS

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
    assert all(row.label and not row.label.startswith("TABLE") for row in shown.rows)  # a caption is no row
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
