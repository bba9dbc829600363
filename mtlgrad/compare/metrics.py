"""What a comparison is judged by: metrics with a direction, a unit and the difference that matters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mtlgrad.compare.labels import did_you_mean
from mtlgrad.compare.schema import Run


class Metric(BaseModel):
    """One metric; in a suite `accuracy = "max"` or `depth = { direction = "min", unit = "cm", margin = 0.5 }`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    direction: Literal["max", "min"]
    """Whether more or less of it is better."""
    unit: str = ""
    """Printed beside its name."""
    margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The smallest difference that matters, in the unit; without one, nothing is ever called equivalent."""


def _from_word(value: Any) -> Any:
    """A direction alone stands for a metric without unit and margin."""
    return {"direction": value} if isinstance(value, str) else value


Metrics = dict[str, Annotated[Metric, BeforeValidator(_from_word)]]
"""By name; the first one is the main metric."""


def metrics_of(declared: Mapping[str, Metric], runs: Sequence[Run]) -> dict[str, Metric]:
    """What is judged and shown, the main metric first: what a suite declares.

    Where it declares none: the problem's main metric, as the first run that tells calls it, more being better.
    """
    main = next((run.metric for run in runs if run.metric), None)
    if declared:
        return dict(declared)
    return {} if main is None else {main: Metric(direction="max")}


def check_given(metrics: Iterable[str], given: Iterable[str], who: str) -> None:
    """ValueError unless every metric is among those that `who` gives.

    >>> check_given(["loss"], ["loss", "accuracy"], "train")
    """
    known = list(given)
    missing = next((name for name in metrics if name not in known), None)
    if missing is not None:
        hint = did_you_mean(missing, known)
        raise ValueError(f"{who} gives {', '.join(known)}; metric {missing!r} is missing{hint}")


PLAIN = (1e-6, 1e7)
"""Numbers from the first up to the second are written out; larger and smaller ones with a power of ten."""
DIGITS = 17
"""A double holds no more significant digits."""


def rounded(value: float, spread: float | None, *, signed: bool = False) -> str:
    """A number to the digits that its spread supports: those of the first two digits of the spread.

    Without a spread, to four significant digits. What is very large or very small has its power of ten behind an e.

    >>> rounded(83.1234, 1.234), rounded(0.0031234, 0.00041), rounded(8312.3, 250.0), rounded(0.123456, None)
    ('83.1', '0.00312', '8312', '0.1235')
    >>> rounded(-0.04, 1.0, signed=True), rounded(1.234e20, 5e18)
    ('0.0', '1.234e20')
    """
    return rounded_together([value], spread, signed=signed)[0]


def rounded_together(values: Sequence[float], spread: float | None, *, signed: bool = False) -> list[str]:
    """Numbers that are read together, such as a mean and the ends of its interval, as `rounded` has them.

    All have as many decimals and, where they need one, the same power of ten: that of the largest of them, or of the
    spread where it is larger still.

    >>> rounded_together([1.03e20, 0.96e20, 1.1e20], 7e18, signed=True)
    ['+1.030e20', '+0.960e20', '+1.100e20']
    """
    known = spread if spread is not None and math.isfinite(spread) and spread > 0 else None
    size = max(known or 0.0, *(abs(value) for value in values if math.isfinite(value)), 0.0)
    if size == 0:
        place, exponent = -1, 0
    else:
        largest = math.floor(math.log10(size))
        place = largest - 3 if known is None else max(math.floor(math.log10(known)) - 1, largest + 1 - DIGITS)
        # written with so many digits, 9.99e19 is 10.0e19, which is 1.00e20
        exponent = 0 if PLAIN[0] <= size < PLAIN[1] else int(f"{size:.{largest - place}e}".partition("e")[2])
    return [_written(value, max(exponent - place, 0), exponent, signed) for value in values]


def interval_text(mean: float, low: float | None, high: float | None, spread: float | None = None) -> str:
    """A signed mean with the ends of its interval, to the digits that the interval supports.

    Where there is no interval, the mean alone, to the digits that `spread` supports.

    >>> interval_text(2.0412, 0.51, 3.57), interval_text(2.0412, None, None)
    ('+2.0 [+0.5, +3.6]', '+2.041')
    """
    if low is None or high is None:
        return rounded(mean, spread, signed=True)
    texts = rounded_together([mean, low, high], (high - low) / 2, signed=True)
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def spread_text(mean: float, std: float | None) -> str:
    """A mean with its sample standard deviation, where there is one.

    >>> spread_text(83.1234, 1.234), spread_text(83.1234, None), spread_text(62.0, 0.0)
    ('83.1 ± 1.2', '83.12', '62.00 ± 0')
    """
    if not std:
        return rounded(mean, None) + ("" if std is None else " ± 0")
    return " ± ".join(rounded_together([mean, std], std))


def _written(value: float, decimals: int, exponent: int, signed: bool) -> str:
    """With a typographic minus, and none before a zero."""
    if math.isfinite(value):
        number = Decimal(value).scaleb(-exponent) if exponent else value  # a Decimal: 10.0**-324 is 0
        text = f"{number:+.{decimals}f}"
    else:
        text, exponent = f"{value:+}", 0
    if float(text) == 0:
        text = text[1:]
    elif not signed:
        text = text.removeprefix("+")
    return f"{text}e{exponent}".removesuffix("e0").replace("-", "\N{MINUS SIGN}")
