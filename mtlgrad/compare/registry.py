"""Problems by name, imported when asked for: a suite that needs no detector pays for none."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from mtlgrad import Method, catalog
from mtlgrad.compare.problem import Problem

Registry = Mapping[str, str]
"""Name to `module:class`. Each class takes `steps` among its options: the length of a run, schedules included."""


def problem_class(name: str, known: Registry) -> type[Problem]:
    """The class of the problem called `name`, or at `module:class`.

    Parameters
    ----------
    name:
        A name of `known`, or an import path.
    known:
        The problems that have a name.

    Raises
    ------
    ValueError
        No such problem; the message lists the known names.
    """
    source = known.get(name, name)
    module, colon, attribute = source.partition(":")
    if not colon:
        raise ValueError(f"unknown problem {name!r}; known: {', '.join(known) or 'none by name'}, or module:class")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"problem {name!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Problem)):
        raise ValueError(f"problem {name!r} is no class that derives from mtlgrad.compare.Problem")
    return found


def make_problem(name: str, options: Mapping[str, Any], known: Registry) -> Problem:
    """A problem that is not set up yet. Unknown options raise ValueError listing the known ones."""
    kind = problem_class(name, known)
    allowed = list(inspect.signature(kind).parameters)
    unknown = [option for option in options if option not in allowed]
    if unknown:
        raise ValueError(f"problem {name!r} has no option {unknown[0]!r}; known: {', '.join(allowed)}")
    return kind(**options)


def imported(source: str) -> Any:
    """What is found at `module:name`; ValueError where nothing is."""
    place, _, attribute = source.rpartition(":")
    try:
        return getattr(importlib.import_module(place), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{source} cannot be imported: {error}") from error


def make_method(name: str, arguments: Mapping[str, Any]) -> Method:
    """A method of the catalog by name, or one's own by where its class is, `module:Name`."""
    if ":" not in name:
        return catalog.make(name, **arguments)
    made = imported(name)
    method = made(**arguments) if callable(made) else made
    if not isinstance(method, Method):
        raise TypeError(f"method {name!r} is a {type(method).__name__}; allowed: what derives from mtlgrad.Method")
    return method
