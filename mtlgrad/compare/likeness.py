"""Suites that are like another one: what their file leaves out is read from the other's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

OWN = ("name", "title", "description")
"""What a suite is called is never another's."""

Read = Callable[[Path], dict[str, Any]]


def completed(data: dict[str, Any], path: Path, read: Read, *, after: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys of a suite's file with those that it leaves out, taken from the suite of its folder that `like` names.

    Args:
        data: what the file holds.
        path: of that file; its folder is where the other suite is looked for.
        read: gives what a file holds.
        after: the files that led to this one.

    Raises:
        ValueError: `like` is not the name of another suite of the folder, or suites are like each other in a circle.
    """
    if "like" not in data:
        return data
    name = data["like"]
    others = sorted(one.stem for one in path.parent.glob("*.toml") if one.stem != path.stem)
    if name not in others:
        known = ", ".join(others) or "none; there is no other suite in its folder"
        raise ValueError(f"like: must name another suite of the same folder, got {name!r}; known: {known}")
    other = path.parent / f"{name}.toml"
    before = (*after, path)
    if other in before:
        circle = " -> ".join(one.stem for one in (*before[before.index(other) :], other))
        raise ValueError(f"like: suites are like each other in a circle: {circle}")
    theirs = completed(read(other), other, read, after=before)
    kept = {key: value for key, value in theirs.items() if key not in OWN}
    return {**kept, **{key: value for key, value in data.items() if key != "like"}}
