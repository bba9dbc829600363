"""The published CSS files, supplied by the user: an index in a .npy file, and a folder of images or none."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tasks.images import read_image
from tasks.retrieval.render import HALF_SIZE, RGB, SHAPES, Placed, render
from tasks.retrieval.scenes import Part, Thing

INDEX = "css_toy_dataset_novel2_small.dup.npy"
EXPECTED = (
    f"{INDEX}, a pickled dictionary train/test -> {{'mods': [{{'from', 'to', 'to_str'}}], 'objects_img': "
    "[[{'size', 'color', 'shape', 'pos'}]], 'labels' (optional)}, and for view='3d' images/css_<part>_<index>.png"
)
VIEWS = ("2d", "3d")

# All that a pickled NumPy array of dictionaries of numbers, strings and lists calls for, by its old and its new module.
_HARMLESS = {
    (module, name)
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("_reconstruct", "scalar")
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class _Refused(ValueError):
    """The index is readable and not what is expected."""


class _Unpickler(pickle.Unpickler):
    """Refuses everything that plain data does not need: a pickle may otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise _Refused(f"asks for {module}.{name}, which plain data does not need")
        return super().find_class(module, name)


def read_css(
    folder: Path, part: Part, *, view: str, size: int
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, str, int]]]:
    """Read one part of the published set.

    Parameters
    ----------
    folder:
        Holds what `EXPECTED` says.
    part:
        "train" or "test".
    view:
        "3d": the rendered images, brought to `size`; "2d": drawn from the index by `render`.
    size:
        Side of the images, pixels.

    Returns
    -------
    tuple
        Images, uint8 [N, 3, size, size]; the label of each image's scene, int64 [N]; queries (source, text, target).

    Raises
    ------
    FileNotFoundError
        The index or an image is missing.
    ImageError
        An image is damaged.
    ValueError
        An unknown view; an index that is damaged or of another form. All of them name the file.
    """
    if view not in VIEWS:
        raise ValueError(f"view={view!r} is unknown; allowed: {VIEWS}")
    path = folder / INDEX
    data = _read_index(path)
    try:
        things = [[_placed(thing) for thing in image] for image in data[part]["objects_img"]]
        labels = [_whole("label", label) for label in data[part].get("labels", range(len(things)))]
        queries = [query for mod in data[part]["mods"] for query in _queries(mod)]
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError) as error:
        said = str(error) if type(error) is ValueError else repr(error)
        raise ValueError(f"{path}: {part!r} of the index is not of the form expected ({said}): {EXPECTED}") from error
    ends = [end for source, _, target in queries for end in (source, target)]
    if len(labels) != len(things) or not queries or min(ends) < 0 or max(ends) >= len(things):
        raise ValueError(
            f"{path}: {part!r} of the index has {len(things)} images, {len(labels)} labels and {len(queries)} queries "
            f"between images {min(ends, default=0)} to {max(ends, default=0)}, which do not fit together; "
            f"expected: {EXPECTED}"
        )
    if view == "2d":
        images = [render(one, size=size) for one in things]
    else:
        images = [
            read_image(folder / "images" / f"css_{part}_{index:06d}.png", side=size).transpose(2, 0, 1)
            for index in range(len(things))
        ]
    return np.stack(images), np.array(labels, dtype=np.int64), queries


def _read_index(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected: {EXPECTED}")
    try:
        data = _unpickled(path)
    except _Refused as error:
        raise ValueError(f"{path}: {error}; expected: {EXPECTED}") from error
    except Exception as error:  # a pickle that is cut or damaged fails in nearly every way
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: cut short or damaged ({reason}); expected: {EXPECTED}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: holds a {type(data).__name__}; expected: {EXPECTED}")
    return data


def _unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise _Refused(f"of .npy format {version}")
        shape, _, dtype = read_header[version](file)
        if shape != () or not dtype.hasobject:
            raise _Refused(f"holds an array of shape {shape} and type {dtype}")
        found = _Unpickler(file, encoding="latin1").load()  # the published file was written by Python 2
    return found.item()


def _queries(mod: dict[str, Any]) -> list[tuple[int, str, int]]:
    """The queries (source, text, target) of one modification."""
    text, sources, targets = mod["to_str"], list(mod["from"]), list(mod["to"])
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"'to_str' is {text!r}; allowed: text with at least one word")
    if len(sources) != len(targets):
        raise ValueError(f"{text!r} leads from {len(sources)} images to {len(targets)}; allowed: as many")
    return [
        (_whole("'from'", source), text, _whole("'to'", target))
        for source, target in zip(sources, targets, strict=True)
    ]


def _whole(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{what} {value!r} is a {type(value).__name__}; allowed: an integer")
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{what} {value!r} is out of range; allowed: an integer of 64 bits")
    return int(value)


def _placed(thing: dict[str, Any]) -> Placed:
    for key, allowed in (("size", HALF_SIZE), ("color", RGB), ("shape", SHAPES)):
        if thing[key] not in allowed:
            raise ValueError(f"{key} {thing[key]!r} is unknown; allowed: {tuple(allowed)}")
    place = thing["pos"]
    if len(place) != 2 or not all(isinstance(at, int | float | np.number) and 0 <= float(at) <= 1 for at in place):
        raise ValueError(f"'pos' {place!r} is off the image; allowed: (row, column), each from 0 to 1")
    return Placed(Thing(thing["size"], thing["color"], thing["shape"]), float(place[0]), float(place[1]))
