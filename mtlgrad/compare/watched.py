"""The options of a function, and which of them it asked for: what it never read had no effect."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any


class Watched(dict[str, Any]):
    """A dict that keeps which keys were asked for, those that are not there among them.

    >>> options = Watched(lr=0.1, steps=3)
    >>> options["lr"], options.get("momentum", 0.9), "depth" in options
    (0.1, 0.9, False)
    >>> sorted(options.read)
    ['depth', 'lr', 'momentum']

    Whoever walks over all of it, or makes another dict of it, has read all:

    >>> dict(options), sorted(Watched(options).read)
    ({'lr': 0.1, 'steps': 3}, [])
    >>> sorted(options.read)
    ['depth', 'lr', 'momentum', 'steps']
    """

    def __init__(self, *values: Any, **others: Any) -> None:
        super().__init__(*values, **others)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.read.add(str(key))
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self.read.update(super().keys())
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self.read.add(key)
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().setdefault(key, default)

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        self.read.update(super().keys())
        return super().keys()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        self.read.update(super().keys())
        return super().items()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        self.read.update(super().keys())
        return super().values()

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)
