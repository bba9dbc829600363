"""Numbers as they are printed: the digits that a spread supports, on every scale."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtlgrad.compare.metrics import rounded, rounded_together

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (83.1234, 1.234, "83.1"),
        (0.0031234, 0.00041, "0.00312"),
        (8312.3, 250.0, "8312"),
        (0.123456, None, "0.1235"),
        (1.0e-6, None, "0.000001000"),
        (9_999_999.0, 1.0, "9999999.0"),
        (1.03e20, 7.4e18, "1.030e20"),
        (1.03e20, None, "1.030e20"),
        (1.234e-15, 1e-16, f"1.23e{MINUS}15"),
        (-1.234e-15, 1e-16, f"{MINUS}1.23e{MINUS}15"),
        (9.99e19, 1e19, "1.00e20"),
        (9.96e-8, 1.0e-8, f"1.00e{MINUS}7"),
        (3e-9, 0.5, "0.00"),
        (1e3, 2e9, "0.0e9"),
        (0.0, None, "0.0"),
        (5e-324, None, f"4.941e{MINUS}324"),
        (1.7e308, None, "1.700e308"),
    ],
)
def test_a_number_on_any_scale(value: float, spread: float | None, text: str) -> None:
    assert rounded(value, spread) == text


def test_a_mean_and_the_ends_of_its_interval_have_one_notation() -> None:
    assert rounded_together([1.03e20, -1.2e15, 2.1e20], 1e19, signed=True) == ["+1.03e20", "0.00e20", "+2.10e20"]
    assert rounded_together([1.03e20, 1e10], 1e10)[1] == "0.00000000010e20"
    assert rounded_together([2.0e-7, -1.1e-5, 1.12e-5], 1e-5, signed=True) == [
        "0.000000",
        f"{MINUS}0.000011",
        "+0.000011",
    ]
    assert rounded_together([0.5, 3e-14], 3e-14) == ["0.500000000000000", "0.000000000000030"], "no spread prints as 0"


@given(
    st.floats(-1.7e308, 1.7e308),  # the largest of all are rounded to what no double holds
    st.one_of(st.none(), st.floats(0, 1.7e308)),
)
def test_what_is_printed_is_the_number_to_its_digits(value: float, spread: float | None) -> None:
    text = rounded(value, spread).replace(MINUS, "-")
    assert len(text) < 30
    if spread:
        assert abs(float(text) - value) <= max(0.06 * spread, 2e-16 * abs(value))
    else:
        assert float(text) == pytest.approx(value, rel=6e-4)
