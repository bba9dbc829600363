"""Values by what they hold: a digest of functions, classes and objects that no import path stands for.

A closure is its code and the values that it captured, a partial function its arguments, a bound method its object.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import torch

from mtlgrad.compare.sources import digest_of, is_own, sources_of

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))


def fingerprint(value: Any) -> str:
    """A digest that is equal for equal code with equal values, here and in another process.

    Parameters
    ----------
    value:
        A function, a class, or an object. Of a function counts what it captured, its defaults, and of the global names
        that it reads the numbers, texts, functions, classes and modules: other globals may change with every run.

    Raises
    ------
    TypeError
        It holds something of which equality cannot be told, such as an open file.

    >>> def scaled(w):
    ...     return lambda x: w * x
    >>> fingerprint(scaled(2)) == fingerprint(scaled(2)), fingerprint(scaled(2)) == fingerprint(scaled(3))
    (True, False)
    """
    walk = _Walk()
    walk.into(value)
    return walk.digest.hexdigest()[:12]


def stands(value: Any) -> bool:
    """Whether a function or class is found in a file under its name, so that the name and the file say what it is."""
    found: Any = sys.modules.get(getattr(value, "__module__", None) or "")
    for name in getattr(value, "__qualname__", "<none>").split("."):
        found = getattr(found, name, None)
    return found is value and file_of(value) is not None


def file_of(value: Any) -> Path | None:
    """The file that a function or class was defined in; None where it was typed into a prompt or a notebook."""
    if value.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
        return None  # a notebook may put its cells into files for a debugger
    try:
        path = Path(inspect.getfile(inspect.unwrap(value)))
    except (OSError, TypeError):
        return None
    return path if path.is_file() else None


class _Walk:
    """Through everything that belongs to a value, each thing once."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._met: dict[int, tuple[int, Any]] = {}
        """By identity: the number, and the thing itself, which must outlive the walk for its identity to be its own."""

    def say(self, *texts: object) -> None:
        for text in texts:
            plain = text if isinstance(text, bytes) else str(text).encode()
            self.digest.update(str(len(plain)).encode() + b":" + plain)

    def value(self, value: Any) -> None:
        """Anything: what stands in a file by its name, the rest by what it holds."""
        if isinstance(value, ModuleType):
            self._named(value.__name__)
        elif isinstance(value, FunctionType | type) and (stands(value) or _of_c(value)):
            self._named(value.__module__, value.__qualname__)
        else:
            self.into(value)

    def into(self, value: Any) -> None:
        """A value by what it holds."""
        if isinstance(value, PLAIN):
            self.say(type(value).__name__, repr(value))
            return
        if id(value) in self._met:
            self.say("met", self._met[id(value)][0])
            return
        self._met[id(value)] = (len(self._met), value)
        if isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, CodeType):
            self._code(value)
        elif isinstance(value, MethodType):
            self._all("method", value.__func__, value.__self__)
        elif isinstance(value, functools.partial):
            self._all("partial", value.func, value.args, value.keywords)
        elif isinstance(value, property):
            self._all("property", value.fget, value.fset, value.fdel)
        elif isinstance(value, staticmethod | classmethod):
            self._all(type(value).__name__, value.__func__)
        elif isinstance(value, functools.cached_property):
            self._all("cached", value.func)
        elif isinstance(value, dict):
            self._all("dict", type(value), *(part for item in value.items() for part in item))
        elif isinstance(value, list | tuple):
            self._all("list", type(value), *value)
        elif isinstance(value, set | frozenset):
            self.say("set", *sorted(fingerprint(one) for one in value))
        elif isinstance(value, torch.Tensor):
            self._tensor(value)
        else:
            self._object(value)

    def _all(self, kind: str, *values: Any) -> None:
        self.say(kind, len(values))
        for value in values:
            self.value(value)

    def _named(self, module: str, name: str = "") -> None:
        """What an import path stands for; where the file is one's own, what it holds belongs to it."""
        self.say("named", module, name)
        script = getattr(sys.modules["__main__"], "__file__", None) if module == "__main__" else None
        if script or is_own(module):
            self.say(digest_of(sources_of(f"{script or module}:{name}")))

    def _function(self, function: FunctionType) -> None:
        self.say("function", function.__qualname__)
        self._code(function.__code__)
        self._all("defaults", function.__defaults__, function.__kwdefaults__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # not bound yet
                continue
            self.say("captured", name)
            try:
                self.value(content)
            except TypeError as error:
                raise TypeError(f"{function.__qualname__} captures {name!r}, of which {error}") from error
        for name in sorted(_read(function.__code__, "LOAD_GLOBAL", "LOAD_NAME") & function.__globals__.keys()):
            one = function.__globals__[name]
            if isinstance(one, (*PLAIN, FunctionType, type, ModuleType)):
                self.say("global", name)
                with suppress(TypeError):  # what cannot be told of a global is not asked for
                    self.value(one)
        for name in sorted(_read(function.__code__, "IMPORT_NAME")):
            self._named(name)

    def _code(self, code: CodeType) -> None:
        self.say("code", code.co_code, code.co_flags, *code.co_names, *code.co_varnames)
        self._all("constants", *code.co_consts)

    def _class(self, kind: type) -> None:
        self.say("class", kind.__qualname__)
        self._all("bases", *kind.__bases__)
        for name, one in sorted(vars(kind).items()):
            if name in _OF_PYTHON or isinstance(one, GetSetDescriptorType | MemberDescriptorType):
                continue
            if "__dataclass_fields__" in vars(kind) and name.startswith("__") and _generated(one):
                continue
            self.say("attribute", name)
            if name == "__dataclass_fields__":
                self._all("fields", *((field.name, field.default, field.default_factory) for field in one.values()))
            else:
                self.value(one)

    def _tensor(self, tensor: torch.Tensor) -> None:
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        self.say("tensor", tensor.dtype, tuple(tensor.shape), plain.view(torch.uint8).numpy().tobytes())

    def _object(self, value: Any) -> None:
        """As pickle takes it apart."""
        kind = type(value)
        self.say("object", kind.__module__, kind.__qualname__)
        if inspect.isbuiltin(value) or isinstance(value, _SLOTS):
            self.say(value.__qualname__)
            holder = getattr(value, "__self__", None)
            if not isinstance(holder, type | ModuleType | None):
                self.value(holder)
            return
        if callable(value) and hasattr(value, "__wrapped__"):  # one that `functools.cache` made
            self.value(value.__wrapped__)
            return
        try:
            parts = value.__reduce_ex__(4)
        except Exception as error:
            raise TypeError(f"the value {value!r} cannot be told from others of its kind") from error
        if isinstance(parts, str):
            self.say(parts)
            return
        for part in parts:
            self._all("part", *(list(part) if isinstance(part, Iterator) else [part]))


_OF_PYTHON = {
    "__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__abstractmethods__", "_abc_impl",
    "__dataclass_params__", "__match_args__", "__firstlineno__", "__static_attributes__", "__annotate_func__",
    "__annotations_cache__", "__annotate__",
}  # fmt: skip
"""Attributes of a class that say nothing about what it does, or that other attributes decide."""

_HEAP_TYPE = 1 << 9
"""The flag of classes that were made while the program ran."""

_SLOTS = (type(object.__init__), type(str.join), type("".__add__))


def _generated(value: Any) -> bool:
    """Whether a function was made by `dataclass`, from fields that are looked at themselves."""
    return isinstance(value, FunctionType) and inspect.unwrap(value).__code__.co_filename == "<string>"


def _of_c(value: Any) -> bool:
    """Whether a class is written in C, as those of Python itself are."""
    return isinstance(value, type) and not value.__flags__ & _HEAP_TYPE


def _read(code: CodeType, *instructions: str) -> set[str]:
    """The names that a function's instructions of these kinds have, those of functions inside it included."""
    found = {str(one.argval) for one in dis.get_instructions(code) if one.opname in instructions}
    inner = [_read(one, *instructions) for one in code.co_consts if isinstance(one, CodeType)]
    return found.union(*inner)
