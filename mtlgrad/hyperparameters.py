"""Checks of what a method is made with: each raises with the argument, the value and what is allowed."""

from __future__ import annotations

import math
import numbers
from typing import Any


def plain(value: Any) -> Any:
    """A real number, or those in a list or tuple, as an int or float; anything else as it is."""
    if type(value) in (list, tuple):
        return type(value)(plain(one) for one in value)
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


def check_number(argument: str, value: object, *, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise unless `value` is a finite number in [low, high]."""
    allowed = (
        f"a number in [{low:g}, {high:g}]"
        if high < math.inf
        else f"a number >= {low:g}"
        if low > -math.inf
        else "a number"
    )
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{argument} must be {allowed}, got {value!r}")
    number = float(value)
    if not math.isfinite(number) or not low <= number <= high:
        raise ValueError(f"{argument} must be {allowed}, got {value!r}")


def check_positive(argument: str, value: object) -> None:
    """Raise unless `value` is a finite number > 0."""
    check_number(argument, value, low=0)
    if value == 0:
        raise ValueError(f"{argument} must be a number > 0, got {value!r}")


def check_integer(argument: str, value: object, *, low: int) -> None:
    """Raise ValueError unless `value` is an integer (a bool is none) of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < low:
        raise ValueError(f"{argument} must be an int >= {low}, got {value!r}")


def check_sequence(argument: str, value: object) -> None:
    """Raise TypeError unless `value` is a list or tuple, ValueError if it is empty."""
    if not isinstance(value, list | tuple):
        raise TypeError(f"{argument} must be a list or tuple of numbers, one per task, got {value!r}")
    if not value:
        raise ValueError(f"{argument} must hold one number per task, got none")


def check_choice(argument: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def preference_of(value: object, *, positive: bool = False) -> tuple[float, ...] | None:
    """A preference as a tuple, one number >= 0 a task and not all 0 (`positive`: all > 0); None stays None.

    Raises
    ------
    TypeError, ValueError
        Naming the entry that is not allowed.
    """
    if value is None:
        return None
    check_sequence("preference", value)
    assert isinstance(value, list | tuple)
    for k, one in enumerate(value):
        check_number(f"preference[{k}]", one, low=0)
        if positive:
            check_positive(f"preference[{k}]", one)
    if not any(value):
        raise ValueError(f"preference must hold a number > 0, got {tuple(value)}")
    return tuple(value)


def vector_of(argument: str, value: object) -> float | tuple[float, ...]:
    """One finite number for all tasks as it is, or one a task as a tuple."""
    if not isinstance(value, list | tuple):
        check_number(argument, value)
        assert isinstance(value, int | float)
        return value
    check_sequence(argument, value)
    for k, one in enumerate(value):
        check_number(f"{argument}[{k}]", one)
    return tuple(value)
