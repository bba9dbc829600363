"""Image data sets as trees of files: a folder for each class, or a list of files with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Of image files, in any case."""

Listing = list[tuple[Path, str]]
"""Image files, each with the name of its class."""


def class_folders(folder: Path, *, expected: str) -> Listing:
    """The images of a tree with a folder for each class, in the order of names.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        It holds no folder with an image, or a class without one; or images that are in no class.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; expected: {expected}")
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    stray = [path for path in entries if path.is_file() and path.suffix.lower() in SUFFIXES]
    if stray:
        raise ValueError(f"{stray[0]}: an image outside the folders of the classes; expected: {expected}")
    found: Listing = []
    for one in (path for path in entries if path.is_dir()):
        images = [path for path in sorted(one.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file()]
        if not images:
            raise ValueError(f"{one}: a class without images; expected: {expected}")
        found += [(path, one.name) for path in images]
    if not found:
        raise ValueError(f"{folder} holds no folder of a class; expected: {expected}")
    return found


def list_file(path: Path, root: Path, *, expected: str) -> Listing:
    """The images that a list names, a line each: a path from `root`, which may hold spaces, and a number.

    The class of an image is the folder that it lies in, and the numbers must agree with that: one for each class.

    Raises
    ------
    FileNotFoundError
        There is no such list.
    ValueError
        Naming the list and the line: no number, a number that stands for two classes or a class with two numbers, a
        file that is not there or is listed twice; or a list without a line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no list {path}; expected: {expected}")
    found: dict[Path, str] = {}
    classes: dict[int, str] = {}
    for number, line in enumerate(path.read_text("utf-8-sig", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number} ({line.strip()!r})"
        name, _, label = line.strip().rpartition(" ")
        if not name.strip() or not label.isdecimal():
            raise ValueError(f"{where} is not a path and a number; expected: {expected}")
        image = root / name.strip()
        kind = image.parent.name
        if classes.setdefault(int(label), kind) != kind:
            raise ValueError(f"{where}: {label} is {classes[int(label)]!r} above; allowed: one class for a number")
        if image in found:
            raise ValueError(f"{where} is listed already")
        if not image.is_file():
            raise ValueError(f"{where}: no file {image}; expected: {expected}")
        found[image] = kind
    if not found:
        raise ValueError(f"{path} lists no image; expected: {expected}")
    if len(set(classes.values())) < len(classes):
        twice = sorted(kind for kind in set(classes.values()) if list(classes.values()).count(kind) > 1)[0]
        numbers = sorted(label for label, kind in classes.items() if kind == twice)
        raise ValueError(f"{path}: class {twice!r} has the numbers {numbers}; allowed: one")
    return list(found.items())


def first_folder(candidates: Sequence[Path], *, expected: str) -> Path:
    """The first of several folders that exists; FileNotFoundError names them all."""
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no folder {' or '.join(str(path) for path in candidates)}; expected: {expected}")
