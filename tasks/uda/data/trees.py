"""Image data sets as trees of files: a folder for each class, or a list of files with their labels."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.images import suffixes

Listing = list[tuple[Path, str]]
"""Image files, each with the name of its class."""

_LITTER = ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r")
"""What systems leave in folders without being asked, in lower case; so they do with names that begin with a dot."""


def class_folders(folder: Path, *, expected: str) -> Listing:
    """The images of a tree with a folder for each class, in the order of names.

    Files beside the folders that are no images say nothing of a class and may be there; so may litter anywhere.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        It holds no folder with an image, or a class without one; images that are in no class; in a class a folder, or
        a file that is no image by its suffix; a link that leads nowhere.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; expected: {expected}")
    entries = list(_entries(folder))
    stray = [path for path in entries if path.is_file() and path.suffix.lower() in suffixes()]
    if stray:
        raise ValueError(f"{stray[0]}: an image outside the folders of the classes; expected: {expected}")
    found: Listing = []
    for one in (path for path in entries if path.is_dir()):
        images = list(_entries(one))
        for path in images:
            if path.is_dir():
                raise ValueError(f"{path}: a folder inside the class {one.name!r}; expected: {expected}")
            if path.suffix.lower() not in suffixes():
                raise ValueError(
                    f"{path}: by its suffix no image that can be read; allowed: {', '.join(sorted(suffixes()))}; "
                    f"expected: {expected}"
                )
        if not images:
            raise ValueError(f"{one}: a class without images; expected: {expected}")
        found += [(path, one.name) for path in images]
    if not found:
        raise ValueError(f"{folder} holds no folder of a class; expected: {expected}")
    return found


def _entries(folder: Path) -> Iterator[Path]:
    """What a folder holds, in the order of names, without litter."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in _LITTER:
            continue
        if not path.exists():
            raise ValueError(f"{path}: a link that leads nowhere")
        yield path


def list_file(path: Path, folder: Path, *, root: Path, classes: int, expected: str) -> tuple[Listing, dict[str, int]]:
    """The images that a list names, and the number of every class.

    A line is a path from `root`, which may hold spaces, and a number below `classes`, with spaces or tabs between.
    The class of an image is the folder that it lies in, directly in `folder`, and the numbers must agree with that:
    one for each class.

    Raises
    ------
    FileNotFoundError
        There is no such list.
    ValueError
        Naming the list and the line: no number, or one out of range; a path to somewhere else; a number that stands
        for two classes or a class with two numbers; a file that is not there, or is listed twice, spelt alike or not;
        or a list without a line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no list {path}; expected: {expected}")
    found: dict[Path, tuple[str, int]] = {}
    kinds: dict[int, str] = {}
    # other characters that Python takes for ends of lines may be in the name of a file
    for number, line in enumerate(path.read_bytes().decode("utf-8-sig", "replace").split("\n"), start=1):
        text = line.removesuffix("\r").strip(" \t")
        if not text:
            continue
        where = f"{path}: line {number} ({text!r})"
        parts = re.fullmatch(r"(.*[^ \t])[ \t]+([0-9]+)", text, re.DOTALL)
        if parts is None:
            raise ValueError(f"{where} is not a path and a number; expected: {expected}")
        name, label = parts[1], int(parts[2])
        if label >= classes:
            raise ValueError(
                f"{where}: number {label} is out of range; allowed: 0 to {classes - 1}, for the {classes} classes"
            )
        inside = Path(os.path.relpath(root / name, folder)).parts  # one spelling for every file
        if len(inside) != 2 or inside[0] == os.pardir:
            raise ValueError(
                f"{where}: {name} does not lie in the folder of a class; expected: <class>/<file> in {folder}"
            )
        image, kind = folder.joinpath(*inside), inside[0]
        if kinds.setdefault(label, kind) != kind:
            raise ValueError(f"{where}: {label} is {kinds[label]!r} above; allowed: one class for a number")
        if image in found:
            raise ValueError(f"{where} is listed already, in line {found[image][1]}; allowed: once")
        if not image.is_file():
            raise ValueError(f"{where}: no file {image}; expected: {expected}")
        found[image] = kind, number
    if not found:
        raise ValueError(f"{path} lists no image; expected: {expected}")
    if len(set(kinds.values())) < len(kinds):
        twice = sorted(kind for kind in set(kinds.values()) if list(kinds.values()).count(kind) > 1)[0]
        numbers = sorted(label for label, kind in kinds.items() if kind == twice)
        raise ValueError(f"{path}: class {twice!r} has the numbers {numbers}; allowed: one")
    return [(image, kind) for image, (kind, _) in found.items()], {kind: label for label, kind in kinds.items()}


def first_folder(candidates: Sequence[Path], *, expected: str) -> Path:
    """The first of several folders that exists; FileNotFoundError names them all."""
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no folder {' or '.join(str(path) for path in candidates)}; expected: {expected}")
