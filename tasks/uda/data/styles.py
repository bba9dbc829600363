"""The same 365 objects drawn by four hands: the domains `noto`, `twemoji`, `fluent` and `openmoji`.

The drawings are emoji, as SVG in one file a style, which `make styles` fetches (see `tasks.uda.data.fetch`). Classes
are ten of Unicode's subgroups of emoji; the objects are those of one code point that all four styles draw, 20 to 63 a
class. Which they are is in styles.json, by subgroup as Unicode's emoji-test.txt has it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import resvg_py
import torch
from sklearn.model_selection import train_test_split

from tasks.images import ImageError, read_image
from tasks.uda.data.domain import Domain, Split

if TYPE_CHECKING:
    from tasks.uda.data.table import Request

SIZE = 96
"""Side of the images, pixels."""

COUNTS = (218, 37, 110)
"""Objects in the training, the validation and the test part: the same objects in every style."""

HOME = Path(__file__).parents[3] / "data" / "styles"
"""Where `make styles` puts the files."""

EXPECTED = "a folder for each style with icons.json and chars.json, as `make styles` fetches them with npm"

_SPLIT_SEED = 0


@dataclass(frozen=True)
class Style:
    """A style: the package that holds it, by the name and version that npm knows, its licence, its files' digests."""

    package: str
    version: str
    licence: str
    icons: str
    chars: str


STYLES = {
    "noto": Style(
        "@iconify-json/noto",
        "1.2.9",
        "Apache-2.0",
        icons="9eac6ef4e7ec122b6f0e7ac281d61008afdbc720d0ce861e398b939daaa347c6",
        chars="91485653ca890bff640f2a6c2d7be62d625a90527b6b4d816b41593675bf5c8f",
    ),
    "twemoji": Style(
        "@iconify-json/twemoji",
        "1.2.5",
        "CC-BY-4.0",
        icons="5d5d820790565b764f2728675d487c9ee4c1fc83916d8567d5aca8ba7527c242",
        chars="8e6a83d5a3ac185b2446154b9c4ee07c983bd4a5b2a21aa4b9ff04af9831eefe",
    ),
    "fluent": Style(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "MIT",
        icons="f5f4cf457c0db2ad5a2e42e033e02e0c87d10e43d0164cfffb3bb84914970a63",
        chars="7f084c5a95807edb4702a7c9f6f18e74d59026d1c34ceb8cae85df0b9a9f0a10",
    ),
    "openmoji": Style(
        "@iconify-json/openmoji",
        "1.2.29",
        "CC-BY-SA-4.0",
        icons="7075331faab544067dbff4236471dd378bb5410aa05799a8a343c9ebf5c5984c",
        chars="8583c4c65723c22c043a50a27038c43d3d12de336ad409872b23356f4c3e3825",
    ),
}
"""Name to style; digests are SHA-256."""

OBJECTS: dict[str, list[str]] = {
    subgroup: codes.split()
    for subgroup, codes in json.loads(Path(__file__).with_name("styles.json").read_text("utf-8")).items()
}
"""Subgroup to the code points, in hexadecimal, of its objects."""

CLASSES = tuple(OBJECTS)


def load(name: str, wanted: Request) -> Domain:
    """A style, from `data_dir`/styles, or from `HOME` where there is no `data_dir`.

    Raises
    ------
    FileNotFoundError
        The style's files are not there; the message says how to get them.
    ValueError
        They are not what is expected.
    """
    home = HOME if wanted.data_dir is None else Path(wanted.data_dir) / "styles"
    images = rasterised(home / name)
    labels = torch.tensor([label for label, codes in enumerate(OBJECTS.values()) for _ in codes])
    train, validation, test = (Split(images[rows], labels[rows]) for rows in partition())
    return Domain(name, train, validation, test, CLASSES)


def partition() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The objects of the training, validation and test part, as rows of all: as many of each class as its share says.

    They are the same in every style: what is tested is seen in training in neither.

    >>> [len(rows) for rows in partition()]
    [218, 37, 110]
    """
    labels = np.array([label for label, codes in enumerate(OBJECTS.values()) for _ in codes])
    _, validation, test = COUNTS
    rest, tested = train_test_split(np.arange(len(labels)), test_size=test, stratify=labels, random_state=_SPLIT_SEED)
    train, validated = train_test_split(rest, test_size=validation, stratify=labels[rest], random_state=_SPLIT_SEED)
    return np.sort(train), np.sort(validated), np.sort(tested)


@lru_cache(maxsize=len(STYLES))
def rasterised(folder: Path) -> torch.Tensor:
    """Every object of a style, on white, uint8 [365, 3, 96, 96], in the order of `OBJECTS`."""
    icons, names = _read(folder / "icons.json"), _read(folder / "chars.json")
    drawn = _names_by_code(names)
    images = []
    for code in (code for codes in OBJECTS.values() for code in codes):
        name = drawn.get(code, "")
        if name not in icons.get("icons", {}):
            raise ValueError(
                f"{folder}: icons.json and chars.json have no drawing of U+{code.upper()}; run `make styles`"
            )
        images.append(draw(icons, name, where=folder / "icons.json"))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def draw(icons: dict[str, Any], name: str, *, where: Path) -> np.ndarray:
    """Rasterise one drawing, uint8 [96, 96, 3].

    Raises
    ------
    ValueError
        Naming the file `where` and the drawing, which is no SVG that can be drawn.
    """
    icon = icons["icons"][name]
    # a drawing may have a box of its own; else it has that of the whole set
    left, top = (icon.get(key, icons.get(key, 0)) for key in ("left", "top"))
    width, height = (icon.get(key, icons.get(key, 16)) for key in ("width", "height"))
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left} {top} {width} {height}">{icon.get("body")}</svg>'
    try:
        drawn = resvg_py.svg_to_bytes(
            svg_string=svg, background="#ffffff", width=SIZE, height=SIZE, skip_system_fonts=True
        )
        return read_image(bytes(drawn), side=SIZE, name=name)
    except (ValueError, ImageError) as error:
        raise ValueError(f"{where}: {name!r} cannot be drawn ({error}); run `make styles`") from error


def _names_by_code(names: dict[str, str]) -> dict[str, str]:
    """Code points to the name of a drawing; what only asks for colour, U+FE0F, is left out of them."""
    return {
        "-".join(point for point in code.lower().split("-") if point != "fe0f"): name for code, name in names.items()
    }


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; expected: {EXPECTED}. To get it, run `make styles` in the checkout")
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); run `make styles`") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds a {type(found).__name__}; expected: {EXPECTED}")
    return found
