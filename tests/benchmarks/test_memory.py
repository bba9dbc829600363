"""The memory table measures what it says, and lean memory is as lean as promised."""

from __future__ import annotations

import torch

from benchmarks import memory


def test_peaks_are_those_of_what_is_held_at_once() -> None:
    def call() -> None:
        one = torch.zeros(100_000)
        del one
        two, three = torch.zeros(50_000), torch.zeros(150_000)
        del two, three

    assert memory.peak_bytes(call) == 4 * 200_000


def test_lean_is_within_a_tenth_of_the_rows_of_one_block() -> None:
    torch.manual_seed(0)
    rows = {row["way"]: row for row in memory.measure(8, 512, 4)}
    assert float(rows["parameters in blocks"]["/ (m x longest parameter)"]) <= 1.1
    assert float(rows["one pass a task"]["/ (m n)"]) >= 1
    assert float(rows["layer by layer"]["peak, MB"]) < float(rows["parameters in blocks"]["peak, MB"])


def test_the_table_is_a_document() -> None:
    text = memory.markdown(memory.measure(2, 512, 2))
    assert text.count("\n|") == 1 + 1 + 6
    assert "UPGrad" in text
