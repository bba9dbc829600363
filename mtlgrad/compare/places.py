"""What results call a problem or a method that was given as a value, so that they are never taken for another's."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from types import CodeType
from typing import Any

from mtlgrad import Method
from mtlgrad.compare.environment import reread
from mtlgrad.compare.fingerprint import file_of, fingerprint, stands
from mtlgrad.compare.registry import GIVEN
from mtlgrad.compare.sources import IN_MEMORY

_codes: dict[str, list[CodeType]] = {}
"""Of what was given before in this process, by name."""


def place_of(value: Any, what: str, places: dict[str, str]) -> str:
    """What a result file calls a problem or a class of methods.

    What is found in a module or script under its name is called by that, and edits of its file show in the digest of
    the code. Anything else, such as a closure, a partial function, a local class or what was typed into a notebook,
    has a digest of its code and of the values that it holds in its name: results of another are of other settings.

    Parameters
    ----------
    value:
        A function, a class, or an object that can be called.
    what:
        "problem" or "method", for errors.
    places:
        Gets where to import it from, by that name.

    Raises
    ------
    TypeError
        It holds something that cannot be told from others of its kind.
    """
    bare = value
    while isinstance(bare, functools.partial):
        bare = bare.func
    if not hasattr(bare, "__qualname__"):  # an object that can be called
        bare = type(bare)
    script = file_of(bare) if bare.__module__ == "__main__" else None
    name = f"{script.name if script else bare.__module__}:{bare.__qualname__}"
    if stands(value):
        places[name] = f"{script.resolve()}:{bare.__qualname__}" if script else name
        _reread_if_loaded_again(name, value)
    else:
        try:
            name += IN_MEMORY + fingerprint(value)
        except TypeError as error:
            raise TypeError(
                f"{what} {bare.__qualname__} holds what results cannot be kept apart by: {error}. Pass what differs in "
                "options=, and make the rest inside it"
            ) from error
        places[name] = name
    if what == "method" and (script or IN_MEMORY in name):
        GIVEN[name] = value
    return name


def hyperparameters(method: Method) -> dict[str, Any]:
    """By name."""
    return {one.name: getattr(method, one.name) for one in dataclasses.fields(method)}  # type: ignore[arg-type]


def check_remade(method: Method) -> None:
    """TypeError unless a method of one's own is the same again when it is made of its hyperparameters, as runs do."""
    kind = type(method)
    arguments: dict[str, Any] = hyperparameters(method) if dataclasses.is_dataclass(method) else {}
    try:
        remade = kind(**arguments) if dataclasses.is_dataclass(method) else None
    except TypeError:
        remade = None
    if remade is None or fingerprint(vars(remade)) != fingerprint(vars(method)):
        raise TypeError(
            f"method {kind.__qualname__}: every run makes it anew from its hyperparameters, the fields of a dataclass, "
            f"which are {', '.join(arguments) or 'none'}; it holds {', '.join(vars(method)) or 'nothing'}. Decorate "
            "the class with @dataclass(frozen=True) and make every argument a field"
        )


def _reread_if_loaded_again(name: str, value: Any) -> None:
    """A module that a notebook reloads has other functions than before: its files are looked at again."""
    parts = vars(value).values() if isinstance(value, type) else [value]
    codes = [part.__code__ for part in parts if inspect.isfunction(part)]
    if _codes.setdefault(name, codes) != codes:
        reread()
        _codes[name] = codes
