"""Every method by name: what the command line, the documentation's tables and the conformance suite iterate."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from mtlgrad.catalog.rows import ENTRIES, Entry
from mtlgrad.method import Method

CATALOG: dict[str, Entry] = {entry.name: entry for entry in ENTRIES}


def names() -> list[str]:
    """The names of all methods, in catalog order."""
    return list(CATALOG)


def _plain(name: str) -> str:
    """A name without what people spell differently: case, hyphens, underscores, blanks."""
    return "".join(letter for letter in name.lower() if letter.isalnum() or letter == "+")


_SPELLINGS: dict[str, Entry] = {
    spelling: one for one in ENTRIES for spelling in (_plain(one.make.__name__), _plain(one.name))
}


def entry(name: str) -> Entry:
    """The row called `name`: a catalog name or a class name, in any case, with or without hyphens and underscores.

    Raises
    ------
    TypeError, ValueError
        Where `name` is no string, or no row has it: lists the known names and suggests the closest.

    >>> entry("PCGrad") is entry("pc-grad") is CATALOG["pcgrad"]
    True
    """
    if not isinstance(name, str):
        raise TypeError(f"a method's name must be a string such as 'gh', got {name!r}")
    if name in CATALOG:
        return CATALOG[name]
    plain = _plain(name)
    if plain in _SPELLINGS:
        return _SPELLINGS[plain]
    close = difflib.get_close_matches(plain, _SPELLINGS, n=1)
    hint = f" (did you mean {_SPELLINGS[close[0]].name!r}?)" if close else ""
    raise ValueError(f"unknown method {name!r}{hint}; known: {', '.join(CATALOG)}")


def make(name: str, **arguments: Any) -> Method:
    """The method called `name` (see `entry`) with the given hyperparameters.

    A hyperparameter that is a method itself may be a table, as a configuration file has it: its name under "method",
    its hyperparameters beside.

    >>> make("GradDrop", leak=0.4)
    GradDrop(leak=0.4)
    >>> make("every", k=10, inner={"method": "pcgrad", "order": "fixed"})
    Every(k=10, inner=PCGrad(order='fixed'))
    """
    row = entry(name)
    known = {one.name: one for one in dataclasses.fields(row.make)}  # type: ignore[arg-type]
    for argument in arguments:
        if argument not in known:
            close = difflib.get_close_matches(argument, known, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            allowed = ", ".join(known) or "no arguments"
            raise TypeError(f"method {row.name!r}: unknown argument {argument!r}{hint}; allowed: {allowed}")
    missing = [
        name
        for name, one in known.items()
        if one.default is one.default_factory is dataclasses.MISSING and name not in arguments
    ]
    if missing:
        given = ", ".join(f"{argument}=..." for argument in missing)
        raise TypeError(
            f"method {row.name!r} has no default for {', '.join(missing)}: make {row.make.__name__}({given})"
        )
    return row.make(**{argument: _made(value) for argument, value in arguments.items()})


def as_method(value: object) -> Method:
    """The method that `value` stands for: a method itself, a name, or a table with a name under "method".

    Raises
    ------
    TypeError, ValueError
        Saying what to do, where `value` is a class in place of an instance, another library's aggregator, a bare
        function, or a name that nobody has.

    >>> as_method("GH")
    GH()
    >>> as_method({"method": "cagrad", "c": 0.4}).name
    'CAGrad(c=0.4)'
    """
    if isinstance(value, Method):
        return value
    if isinstance(value, str):
        return make(value)
    if isinstance(value, Mapping):
        if "method" not in value:
            raise ValueError(f'a method\'s table must hold its name under "method", got the keys {list(value)}')
        made = _made(value)
        assert isinstance(made, Method)
        return made
    wanted = "method must be a method such as mtlgrad.GH(), or its name"
    if isinstance(value, type):
        hint = f": did you mean {value.__name__}()?" if issubclass(value, Method) else ""
        raise TypeError(f"{wanted}, got the class {value.__name__}{hint}")
    kind = type(value)
    if kind.__module__.split(".")[0] == "torchjd":
        ours = _SPELLINGS.get(_plain(kind.__name__.removesuffix("Weighting")))
        hint = f"use mtlgrad.{ours.make.__name__}()" if ours else "see mtlgrad.catalog.names() for what there is"
        raise TypeError(f"{wanted}, got torchjd's {kind.__name__}: {hint}")
    if callable(value):
        raise TypeError(
            f"{wanted}, got {value!r}: to use a rule of your own derive from mtlgrad.GramAggregator (it writes "
            "_weights), mtlgrad.JacobianAggregator (_step) or mtlgrad.Scalarizer (_weights)"
        )
    raise TypeError(f"{wanted}, got {value!r}")


def _made(value: Any) -> Any:
    """The method that a table stands for; anything else as it is."""
    if not isinstance(value, Mapping) or "method" not in value:
        return value
    inner = dict(value)
    return make(inner.pop("method"), **inner)
