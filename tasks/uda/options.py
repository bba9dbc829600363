"""What a system's own settings and its first steps may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtlgrad.compare.checks import integer, number
from tasks.uda.systems import SYSTEMS


def check_settings(method: str, settings: Mapping[str, Any]) -> None:
    """Raise unless the system called `method` has these settings, and they are in range.

    >>> check_settings("mcd", {"generator_steps": 4})
    """
    defaults = SYSTEMS[method].defaults
    if not isinstance(settings, Mapping):
        raise TypeError(f"settings={settings!r} is a {type(settings).__name__}; allowed: a mapping of names to values")
    for name, value in settings.items():
        if name not in defaults:
            raise ValueError(f"settings has {name!r}, which method={method!r} has not; allowed: {sorted(defaults)}")
        if isinstance(defaults[name], int):
            integer(f"settings[{name!r}]", value, low=1)
        else:
            number(f"settings[{name!r}]", value)


def check_warmup(method: str, *, steps: int, warmup: int | None) -> None:
    """Raise unless steps on the source, where there have to be some, leave others in which the system adapts.

    >>> check_warmup("shot", steps=2, warmup=None)
    """
    if warmup is None:
        if steps == 1 and SYSTEMS[method].source_first:
            raise ValueError(
                f"steps={steps} with method={method!r}, which trains on the source first and then adapts; allowed: "
                "at least 2, or warmup=0"
            )
        return
    integer("warmup", warmup, low=0)
    if warmup >= steps:
        raise ValueError(
            f"warmup={warmup} leaves none of steps={steps} to adapt in; allowed: below steps "
            "(method='source_only' trains on the source alone)"
        )
