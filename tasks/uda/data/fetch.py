"""Fetch the drawings of the styles with npm, by the packages' names: what `make styles` runs.

Versions are pinned and digests are checked; nothing of a package is run. What lies there already and is right is kept.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tasks.uda.data.styles import HOME, STYLES, Style


class FetchError(RuntimeError):
    """npm is missing or failed, or a file is not the one expected."""


def fetch(name: str, home: Path) -> bool:
    """Put the files of a style into `home`/<name>; False if they were there.

    Raises
    ------
    FetchError
        As the class says, with the package.
    """
    style, folder = STYLES[name], home / name
    if all((folder / file).is_file() and _digest(folder / file) == digest for file, digest in _files(style).items()):
        return False
    with tempfile.TemporaryDirectory() as scratch:
        _pack(style, Path(scratch))
        found = _extracted(style, Path(scratch))
        folder.mkdir(parents=True, exist_ok=True)
        for file in found:
            shutil.copy(file, folder / file.name)
    return True


def _files(style: Style) -> dict[str, str]:
    return {"icons.json": style.icons, "chars.json": style.chars}


def _pack(style: Style, scratch: Path) -> None:
    asked = f"{style.package}@{style.version}"
    try:
        subprocess.run(
            ["npm", "pack", "--silent", "--pack-destination", str(scratch), asked],
            check=True,
            capture_output=True,
            text=True,
            cwd=scratch,
        )
    except FileNotFoundError as error:
        raise FetchError(f"npm was not found, which fetches {asked}; install Node.js") from error
    except subprocess.CalledProcessError as error:
        raise FetchError(f"npm could not fetch {asked}: {error.stderr.strip()}") from error


def _extracted(style: Style, scratch: Path) -> list[Path]:
    """The two files of a fetched package, in `scratch`, once their digests are found right."""
    (archive,) = scratch.glob("*.tgz")
    found = []
    with tarfile.open(archive) as package:
        for file, digest in _files(style).items():
            try:
                member = package.extractfile(f"package/{file}")
            except KeyError:
                member = None
            if member is None:
                raise FetchError(f"{style.package}@{style.version} holds no {file}")
            (scratch / file).write_bytes(member.read())
            if _digest(scratch / file) != digest:
                raise FetchError(
                    f"{file} of {style.package}@{style.version} has digest {_digest(scratch / file)}; "
                    f"expected: {digest}"
                )
            found.append(scratch / file)
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    """Fetch all styles; says what came, under which licence, and where it lies."""
    for name, style in STYLES.items():
        try:
            new = fetch(name, HOME)
        except FetchError as error:
            print(error, file=sys.stderr)
            return 1
        where = f"{'fetched to' if new else 'is in'} {HOME / name}"
        print(f"{name}: {style.package} {style.version} ({style.licence}) {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
