"""MNIST, USPS and SVHN from a folder of the user's, or from the hub where that is asked for, with `datasets`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tasks.images import read_image
from tasks.uda.data.domain import DIGITS, Domain, Split, hold_out
from tasks.uda.data.frame import SIZE, frame
from tasks.uda.data.tables import open_table

if TYPE_CHECKING:
    from tasks.uda.data.table import Request

EXPECTED = (
    "a data set with splits 'train' and 'test' and columns 'image' and 'label' (0..9), as written by "
    "datasets.save_to_disk, as parquet files (a download of the data set's repository), or as an image folder "
    "(train/0/*.png, ..., test/9/*.png), whose classes may also be named zero to nine or digit_0 to digit_9"
)


_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


SAMPLED = {"mnist": 2000, "usps": 1800}
"""Images that the sampled protocol of MCD, DWL and GVB trains on; of SVHN it takes all."""
VALIDATED = 1000
"""Of the images that are not sampled, how many validate."""
HUB: dict[str, tuple[str, ...]] = {
    "mnist": ("ylecun/mnist",),
    "usps": ("flwrlabs/usps",),
    "svhn": ("ufldl-stanford/svhn", "cropped_digits"),
}
"""Repositories of the Hugging Face hub, with a configuration where they have several, that `data_dir="hub"` reads."""

_SAMPLE_SEED = 0  # the same images in every run
_FRAMED = ("mnist", "usps")  # bright ink on black, which the common frame needs


def digits(name: str, wanted: Request) -> Domain:
    """A domain of digits from `data_dir`/<name>: a tenth of its training images validate.

    At the size of the built-in digits it is put in their frame, if its images are bright ink on black.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_folder`; or there are too few images of a digit for the protocol: each part has all ten.
    """
    assert wanted.data_dir is not None
    framed = wanted.size == SIZE and name in _FRAMED
    place = name if wanted.data_dir == "hub" else Path(wanted.data_dir) / name
    read = read_folder(place, size=28 if framed else wanted.size, channels=1 if framed else wanted.channels)
    if framed:
        read = {
            part: ((255 * frame(images.float() / 255)).round().to(torch.uint8), labels)
            for part, (images, labels) in read.items()
        }
    whole, test = Split(*read["train"]), Split(*read["test"])
    if wanted.protocol == "full" or (wanted.protocol == "sampled" and name not in SAMPLED):
        return Domain(name, whole, test, test)
    if wanted.protocol == "sampled":
        if len(whole) < SAMPLED[name] + len(DIGITS):
            raise ValueError(
                f"{name} in {wanted.data_dir} has {len(whole)} images to train on; protocol='sampled' takes "
                f"{SAMPLED[name]} of them and validates on others"
            )
        # whatever the labels, so that a target's do not say what is trained on
        order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(_SAMPLE_SEED))
        train, validation = (whole.part(rows) for rows in order.split([SAMPLED[name], len(whole) - SAMPLED[name]]))
        validation = validation.first(VALIDATED)
    else:
        counts = torch.bincount(whole.labels, minlength=len(DIGITS))
        if counts.min() < 2:
            why = "a tenth validates, so that at least 2 of each digit are needed"
            raise _too_few(whole, f"train of {place}", int(counts.argmin()), why)
        count = max(len(DIGITS), round(0.1 * len(whole)))
        train, validation = hold_out(whole.images, whole.labels, count=count)
    for part, split in (("training", train), ("validation", validation)):
        if lacking := _lacking(split.labels.tolist()):
            raise _too_few(whole, f"train of {place}", lacking[0], f"none came into the {part} part")
    return Domain(name, train, validation, test)


def _too_few(whole: Split, what: str, digit: int, why: str) -> ValueError:
    count = int((whole.labels == digit).sum())
    return ValueError(
        f"{what} has {count} {'image' if count == 1 else 'images'} of {digit}: {why}; allowed: more of them, or "
        f"protocol='full'; expected: {EXPECTED}"
    )


def _lacking(labels: Sequence[int]) -> list[int]:
    """Digits that no image shows."""
    return sorted(set(range(len(DIGITS))) - set(labels))


def read_folder(folder: Path | str, *, size: int, channels: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Read the splits `train` and `test` of a digit data set.

    Parameters
    ----------
    folder:
        Holds what `EXPECTED` says; or the name of a data set in `HUB`, which is downloaded.
    size, channels:
        Images become `size` x `size` pixels with 1 (grey) or 3 (RGB) channels, as `tasks.images.read_image` reads them.

    Returns
    -------
    dict
        Split name to images, uint8 [N, channels, size, size], and labels, int64 [N].

    Raises
    ------
    FileNotFoundError
        The folder does not exist.
    ValueError
        It cannot be read as a data set, lacks a split, a column or a digit, a label is not a digit, or an image cannot
        be read.
    """
    found = open_table(HUB[folder] if isinstance(folder, str) else folder, expected=EXPECTED)
    if not {"train", "test"} <= set(found):
        raise ValueError(f"folder {folder} holds {sorted(found) or 'a single split'}; expected: {EXPECTED}")
    return {split: _read_split(found[split], f"{split} of {folder}", size, channels) for split in ("train", "test")}


def _read_split(rows: Any, what: str, size: int, channels: int) -> tuple[Tensor, Tensor]:
    from datasets import Image

    if not {"image", "label"} <= set(rows.column_names):
        raise ValueError(f"{what} has columns {rows.column_names}; expected: {EXPECTED}")
    names = getattr(rows.features["label"], "names", None)
    try:
        labels = _digits(rows["label"][:], names)
    except ValueError as error:
        raise ValueError(f"{what} has {error}; expected: {EXPECTED}") from error
    if lacking := _lacking(labels):
        raise ValueError(f"{what} has no image of {lacking}; expected: {EXPECTED}")
    pixels = []
    # the bytes as they are in the file, for the one reader of all tasks
    for number, row in enumerate(rows.cast_column("image", Image(decode=False))["image"]):
        name = f"{what}: image {number}" + (f" ({row['path']})" if row["path"] else "")
        file = Path(row["path"]) if row["bytes"] is None else row["bytes"]
        pixels.append(read_image(file, channels=channels, side=size, name=name))
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


def _digits(labels: Sequence[Any], names: Sequence[str] | None) -> list[int]:
    """The digit of every label; ValueError lists what was found where that is not clear."""
    if names is not None:
        digits = [digit_of(name) for name in names]
        if None in digits or len(set(digits)) < len(digits):
            raise ValueError(f"classes named {list(names)}, of which each must say another digit")
        if not all(0 <= label < len(names) for label in labels):
            raise ValueError(f"labels {sorted(set(labels))} of {len(names)} classes")
        table: dict[Any, int | None] = dict(enumerate(digits))
    else:
        kinds = set(labels)
        table = {one: digit_of(one) if isinstance(one, str) else one for one in kinds}
    found = [table[label] for label in labels]
    if any(isinstance(digit, bool) or not isinstance(digit, int) or not 0 <= digit <= 9 for digit in table.values()):
        raise ValueError(f"labels {sorted(table, key=repr)}, which are not all digits")
    return [digit for digit in found if digit is not None]


def digit_of(name: str) -> int | None:
    """The digit that a name says, by one number or one English word; None where it says none, or more than one.

    >>> [digit_of(name) for name in ("3", "digit_3", "Three", "3 - three", "class-07")]
    [3, 3, 3, 3, 7]
    >>> [digit_of(name) for name in ("10", "3 or 5", "drei", "someone")]
    [None, None, None, None]
    """
    words = re.findall(r"[^\W\d_]+|\d+", name.lower())
    said = {_WORDS.index(word) for word in words if word in _WORDS}
    said |= {int(word) for word in words if word.isdecimal()}
    (digit,) = said if len(said) == 1 else (None,)
    return digit if digit is not None and digit <= 9 else None
