"""Checks of a problem's options: each raises with the option's name, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable


def one_of(name: str, value: object, allowed: Iterable[object]) -> None:
    """ValueError unless `value` is among `allowed`.

    >>> one_of("form", "fc", ("fc", "lastconv"))
    """
    known = tuple(allowed)
    if value not in known:
        raise ValueError(f"{name}={value!r} is unknown; allowed: {known}")


def integer(name: str, value: object, *, low: int, high: int | None = None) -> None:
    """TypeError unless `value` is an int (a bool is none), ValueError unless it is from `low` to `high`.

    >>> integer("steps", 3, low=1)
    """
    allowed = f"int >= {low}" + ("" if high is None else f" and <= {high}")
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; allowed: {allowed}")
    if value < low or (high is not None and value > high):
        raise ValueError(f"{name}={value} is out of range; allowed: {allowed}")


def seed(name: str, value: object) -> None:
    """TypeError unless `value` is an int, ValueError unless every random generator takes it: 64 bits, not negative.

    >>> seed("data_seed", 2**64 - 1)
    """
    integer(name, value, low=0, high=2**64 - 1)


def number(name: str, value: object, *, positive: bool = False, high: float | None = None) -> None:
    """TypeError unless `value` is a number, ValueError unless it is finite and from 0 (or above 0) to `high`.

    >>> number("lr", 1e-3, positive=True)
    """
    allowed = f"a finite number {'>' if positive else '>='} 0" + ("" if high is None else f" and <= {high}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; allowed: {allowed}")
    top = float("inf") if high is None else high
    if not 0 <= value <= top or value == float("inf") or (positive and value == 0):
        raise ValueError(f"{name}={value} is out of range; allowed: {allowed}")


def boolean(name: str, value: object) -> None:
    """TypeError unless `value` is a bool.

    >>> boolean("full", False)
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; allowed: true or false")


def text_or_none(name: str, value: object) -> None:
    """TypeError unless `value` is None or text, such as a path; ValueError if it is empty.

    >>> text_or_none("data_dir", None)
    """
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; allowed: text, or none")
    if value == "":
        raise ValueError(f"{name}='' is empty; allowed: text, or none")
