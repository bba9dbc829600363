"""Where a method's hyperparameters are worth looking for: what `Method.search_space` is made of.

A space turns points of the unit cube, as a low-discrepancy sequence gives them, into values; it draws nothing itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

_Method = TypeVar("_Method")


class Space:
    """The values of one hyperparameter."""

    def size(self, m: int) -> int:
        """How many coordinates of the unit cube decide the value, for `m` tasks."""
        return 1

    def at(self, point: Sequence[float]) -> Any:
        """The value at a point of [0, 1]^size."""
        raise NotImplementedError


@dataclass(frozen=True)
class Uniform(Space):
    """Numbers from `low` to `high`, all alike.

    >>> Uniform(0.0, 2.0).at([0.25])
    0.5
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_range(self, self.low, self.high)

    def at(self, point: Sequence[float]) -> float:
        return min(max(self.low + point[0] * (self.high - self.low), self.low), self.high)


@dataclass(frozen=True)
class LogUniform(Space):
    """Numbers from `low` > 0 to `high`, of which each decade gets the same share.

    >>> round(LogUniform(0.01, 1.0).at([0.5]), 12)
    0.1
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_range(self, self.low, self.high)
        if self.low <= 0:
            raise ValueError(f"LogUniform needs low > 0, got low={self.low!r}")

    def at(self, point: Sequence[float]) -> float:
        value = self.low * math.pow(self.high / self.low, point[0])
        return min(max(value, self.low), self.high)


@dataclass(frozen=True, init=False)
class Choice(Space):
    """One of the `values`, all alike.

    >>> Choice("min", "median").at([0.7])
    'median'
    """

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        if len(set(values)) != len(values) or len(values) < 2:
            raise ValueError(f"Choice needs two or more distinct values, got {values!r}")
        object.__setattr__(self, "values", values)

    def at(self, point: Sequence[float]) -> Any:
        return self.values[min(int(point[0] * len(self.values)), len(self.values) - 1)]


@dataclass(frozen=True)
class Simplex(Space):
    """One weight a task, all > 0 and m in sum: the scale belongs to the learning rate, and (1, ..., 1) is the sum.

    Uniform over the simplex: logarithms of the coordinates, as exponential variables, divided by their mean.

    >>> Simplex().at([0.5, 0.5, 0.5])
    (1.0, 1.0, 1.0)
    """

    def size(self, m: int) -> int:
        return m

    def at(self, point: Sequence[float]) -> tuple[float, ...]:
        parts = [-math.log1p(-min(max(one, 1e-6), 1 - 1e-6)) for one in point]
        total = math.fsum(parts)
        return tuple(len(parts) * part / total for part in parts)


def searched(**spaces: Space) -> Mapping[str, Space]:
    """A method's search space: its hyperparameters by name."""
    return MappingProxyType(spaces)


def placed(method: _Method, values: Mapping[str, Any]) -> _Method:
    """`method` with these hyperparameters; "inner.c" is the `c` of the method that a wrapper holds as `inner`.

    >>> import mtlgrad
    >>> placed(mtlgrad.Every(k=4, inner=mtlgrad.CAGrad()), {"k": 2, "inner.c": 0.2}).name
    "Every(k=2, inner=CAGrad(c=0.2, rescale='none'))"
    """
    mine = {name: value for name, value in values.items() if "." not in name}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if "." in name:
            outer, _, rest = name.partition(".")
            nested.setdefault(outer, {})[rest] = value
    inner = {name: placed(getattr(method, name), parts) for name, parts in nested.items()}
    changed: _Method = dataclasses.replace(method, **mine, **inner)  # type: ignore[type-var]
    return changed


def _check_range(space: Space, low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{type(space).__name__} needs finite low < high, got low={low!r}, high={high!r}")
