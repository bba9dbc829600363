"""Which files hold the code of a problem or a method."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sysconfig
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

LIBRARY = Path(__file__).parent.parent

IN_MEMORY = "#"
"""Separates a name from the digest of what stands in no file, or cannot be found there by that name."""


def sources_of(source: str | None) -> tuple[Path, list[Path]]:
    """The files of what is at `source`, and the folder that they are in.

    Parameters
    ----------
    source:
        `package.module:name`: the files of the top-level package. `module:name` or `file.py:name`: the file, and what
        it imports from files and folders beside it. None, or what cannot be found: no files.
    """
    if source is None or ":" not in source or IN_MEMORY in source:
        return LIBRARY, []
    place = source.rpartition(":")[0]
    if place.endswith(".py"):
        path = Path(place).resolve()
        return (path.parent, _with_neighbours(path)) if path.is_file() else (LIBRARY, [])
    spec = _spec(place)
    if spec is None:
        return LIBRARY, []
    for folder in spec.submodule_search_locations or ():
        return Path(folder).parent, list(Path(folder).rglob("*.py"))
    if spec.origin is None or not Path(spec.origin).is_file():
        return LIBRARY, []
    path = Path(spec.origin).resolve()
    return path.parent, [path] if installed(path) else _with_neighbours(path)


def is_own(module: str) -> bool:
    """Whether a module is neither Python's nor the library's nor of a package that was installed."""
    spec = _spec(module)
    places = [] if spec is None else [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else [])]
    paths = [path for place in places if (path := Path(place)).exists()]
    return bool(paths) and not any(path.is_relative_to(LIBRARY) or installed(path) for path in paths)


def digest_of(*parts: tuple[Path, list[Path]]) -> str:
    """Of files, under their names within a folder."""
    digest = hashlib.sha256()
    for root, paths in parts:
        for path in sorted(paths):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _spec(module: str) -> ModuleSpec | None:
    """Of the top-level package or module."""
    try:
        return importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return None


def installed(path: Path) -> bool:
    """Whether a file is of Python or of a package that was installed: versions tell of those."""
    folders = sysconfig.get_paths()
    return any(path.is_relative_to(folders[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def _with_neighbours(path: Path) -> list[Path]:
    """The file, and the files of its folder that it imports, directly or through others; of a package all of them."""
    found, waiting = {path}, [path]
    while waiting:
        for name in _imports(waiting.pop()):
            beside = path.parent / name
            module = beside.with_name(f"{name}.py")
            new = set(beside.rglob("*.py")) if beside.is_dir() and beside.resolve() != LIBRARY.resolve() else set()
            new = (new or ({module} if module.is_file() else set())) - found
            found |= new
            waiting += new
    return list(found)


def _imports(path: Path) -> Iterator[str]:
    """The top-level names of all imports in a file, wherever they stand; none of a file that cannot be parsed."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name.partition(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0]
