"""What a system's own settings may be."""

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
