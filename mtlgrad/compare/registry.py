"""Problems and methods by name or by where they are found, imported when asked for: a suite pays for nothing else."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from mtlgrad import Method, catalog
from mtlgrad.compare.problem import Problem

Registry = Mapping[str, str]
"""Name to `module:name` or `file.py:name`. A class takes `steps` among its options: the length of a run."""

Found = type[Problem] | Callable[..., Any]
"""A problem: a class with phases, or a function `train(method, run)`."""


GIVEN: dict[str, Any] = {}
"""Methods that were given as values and that no import finds, by what results call them; for tuning and controls."""


def located(name: str, known: Registry, *, beside: Path | None = None) -> str:
    """Where the problem called `name` is imported from.

    Parameters
    ----------
    name:
        A name of `known`, `module:name` or `file.py:name`.
    known:
        The problems that have a name.
    beside:
        The folder that a relative `file.py` is in; None: the current one.

    Raises
    ------
    ValueError
        It is none of these, or there is no such file.
    """
    source = known.get(name, name)
    place, colon, attribute = source.rpartition(":")
    if not colon or not attribute:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        listed = ", ".join([*known, "or a path such as package.module:Name or file.py:train"])
        raise ValueError(f"unknown problem {name!r}{hint}; known: {listed}")
    if not place.endswith(".py"):
        return source
    path = (beside or Path.cwd()) / place
    if not path.is_file():
        raise ValueError(f"problem {name!r}: there is no file {place!r} in {beside or Path.cwd()}")
    return f"{path.resolve()}:{attribute}"


def imported(source: str) -> Any:
    """What is found at `module:name` or `file.py:name`; ValueError where nothing is."""
    if source in GIVEN:
        return GIVEN[source]
    place, _, attribute = source.rpartition(":")
    try:
        module = _module_of(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        return getattr(module, attribute)
    except (ImportError, AttributeError, OSError) as error:
        raise ValueError(f"{Path(place).name}:{attribute} cannot be imported: {error}") from error


def find_problem(name: str, known: Registry) -> Found:
    """The class or function of a problem; ValueError where there is none."""
    found = imported(located(name, known))
    check_problem(found)
    return cast(Found, found)


def check_problem(found: object) -> None:
    """TypeError unless `found` is a class with phases or a function of a method and a run."""
    if isinstance(found, type):
        if not issubclass(found, Problem):
            raise TypeError(f"problem {found.__name__} is a class that does not derive from mtlgrad.compare.Problem")
        return
    if not callable(found):
        raise TypeError(f"problem must be a function train(method, run) or a class, got {found!r}")
    try:
        inspect.signature(found).bind(None, None)
    except TypeError as error:
        name = getattr(found, "__name__", repr(found))
        raise TypeError(f"problem {name} must be callable as {name}(method, run): {error}") from error


def make_problem(kind: type[Problem], options: Mapping[str, Any], *, name: str | None = None) -> Problem:
    """A problem that is not set up yet. Unknown options raise ValueError listing the known ones."""
    allowed = list(inspect.signature(kind).parameters)
    unknown = [option for option in options if option not in allowed]
    if unknown:
        close = difflib.get_close_matches(unknown[0], allowed, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(
            f"problem {name or kind.__name__!r} has no option {unknown[0]!r}{hint}; known: {', '.join(allowed)}"
        )
    return kind(**options)


def make_method(name: str, arguments: Mapping[str, Any]) -> Method:
    """A method of the catalog by name, or one's own by where its class is: `module:Name` or `file.py:Name`."""
    if ":" not in name:
        return catalog.make(name, **arguments)
    made = imported(name if name in GIVEN else located(name, {}))
    method = made(**arguments) if callable(made) else made
    if not isinstance(method, Method):
        raise TypeError(f"method {name!r} is a {type(method).__name__}; allowed: what derives from mtlgrad.Method")
    return method


def _module_of(path: Path) -> Any:
    """The module in a file, imported once a process, under a name that its place decides.

    Files beside it can be imported by it, as when it is run as a script.
    """
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
