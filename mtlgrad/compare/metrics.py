"""What a comparison is judged by: metrics with a direction, a unit and the difference that matters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mtlgrad.compare.labels import did_you_mean


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


def check_given(metrics: Iterable[str], given: Iterable[str], who: str) -> None:
    """ValueError unless every metric is among those that `who` gives.

    >>> check_given(["loss"], ["loss", "accuracy"], "train")
    """
    known = list(given)
    missing = next((name for name in metrics if name not in known), None)
    if missing is not None:
        hint = did_you_mean(missing, known)
        raise ValueError(f"{who} gives {', '.join(known)}; metric {missing!r} is missing{hint}")


def rounded(value: float, spread: float | None, *, signed: bool = False) -> str:
    """A number to the digits that its spread supports: those of the first two digits of the spread.

    Without a spread, to four significant digits.

    >>> rounded(83.1234, 1.234), rounded(0.0031234, 0.00041), rounded(8312.3, 250.0), rounded(0.123456, None)
    ('83.1', '0.00312', '8312', '0.1235')
    >>> rounded(-0.04, 1.0, signed=True)
    '0.0'
    """
    if spread is None or not math.isfinite(spread) or spread <= 0:
        decimals = 3 - math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 1
    else:
        decimals = decimals_of(spread)
    text = f"{value:+.{min(max(decimals, 0), 12)}f}"
    if float(text) == 0:
        text = text[1:]
    return (text if signed else text.removeprefix("+")).replace("-", "\N{MINUS SIGN}")


def decimals_of(spread: float) -> int:
    """Decimal places that show two digits of a spread.

    >>> decimals_of(12.0), decimals_of(1.2), decimals_of(0.00041)
    (0, 1, 5)
    """
    return max(1 - math.floor(math.log10(spread)), 0)
