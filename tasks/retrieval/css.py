"""The published CSS files, supplied by the user: an index in a .npy file, and a folder of images or none."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.retrieval.render import Placed, render
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


class _Unpickler(pickle.Unpickler):
    """Refuses everything that plain data does not need: a pickle may otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise ValueError(f"{INDEX} asks for {module}.{name}, which plain data does not need; expected: {EXPECTED}")
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
    ValueError
        An unknown view; an index of another form.
    """
    if view not in VIEWS:
        raise ValueError(f"view={view!r} is unknown; allowed: {VIEWS}")
    data = _read_index(folder / INDEX)
    try:
        things = [[_placed(thing) for thing in image] for image in data[part]["objects_img"]]
        labels = np.asarray(data[part].get("labels", range(len(things))), dtype=np.int64)
        queries = [
            (int(source), str(mod["to_str"]), int(target))
            for mod in data[part]["mods"]
            for source, target in zip(mod["from"], mod["to"], strict=True)
        ]
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{part!r} of {INDEX} is not of the form expected ({error!r}): {EXPECTED}") from error
    ends = [end for source, _, target in queries for end in (source, target)]
    if labels.shape != (len(things),) or not queries or min(ends) < 0 or max(ends) >= len(things):
        raise ValueError(
            f"{part!r} of {INDEX} has {len(things)} images, labels of shape {labels.shape} and {len(queries)} "
            f"queries that do not fit together; expected: {EXPECTED}"
        )
    if view == "2d":
        images = [render(one, size=size) for one in things]
    else:
        images = [_load(folder / "images" / f"css_{part}_{index:06d}.png", size) for index in range(len(things))]
    return np.stack(images), labels, queries


def _read_index(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise ValueError(f"{path.name} is of .npy format {version}; expected: {EXPECTED}")
        shape, _, dtype = read_header[version](file)
        if shape != () or not dtype.hasobject:
            raise ValueError(f"{path.name} holds an array of shape {shape} and type {dtype}; expected: {EXPECTED}")
        found = _Unpickler(file, encoding="latin1").load()  # the published file was written by Python 2
    data = found.item()
    if not isinstance(data, dict):
        raise ValueError(f"{path.name} holds a {type(data).__name__}; expected: {EXPECTED}")
    return data


def _placed(thing: dict[str, Any]) -> Placed:
    row, column = thing["pos"][0], thing["pos"][1]
    return Placed(Thing(thing["size"], thing["color"], thing["shape"]), float(row), float(column))


def _load(path: Path, size: int) -> np.ndarray:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)
    return pixels.transpose(2, 0, 1)
