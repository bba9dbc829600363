"""Data sets as tables of Hugging Face `datasets`: in a folder, or a repository of the hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tasks.uda.data.photos import Row

EXPECTED = (
    "a data set with columns 'image' and 'label' and, for the domains, a column 'domain' that names them or a split "
    "for each (of DomainNet: splits 'train' and 'test' with a column 'domain', or <domain>_train and "
    "<domain>_test), as written by datasets.save_to_disk, as parquet files, or from the hub"
)
"""Of photographs."""

Rows = list[tuple[Row, str]]
"""Photographs of a table, each with the name of its class."""


def open_table(place: Path | tuple[str, ...], *, expected: str) -> dict[str, Any]:
    """The splits of a data set, by name.

    Parameters
    ----------
    place:
        A folder, with what `datasets.save_to_disk` wrote, parquet files or an image folder; or a repository of the hub,
        OWNER/NAME, which is downloaded, and after it its configuration, if it has several.
    expected:
        The layout, for errors.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        What is there cannot be read as a data set, or the hub does not give it.
    """
    if isinstance(place, Path) and not place.is_dir():
        raise FileNotFoundError(f"no folder {place}; expected there: {expected}")
    from datasets import DatasetDict, load_dataset, load_from_disk  # here: a slow import that few runs need

    try:
        if isinstance(place, tuple):
            found = load_dataset(*place)
        else:
            saved = (place / "dataset_dict.json").exists()
            found = load_from_disk(str(place)) if saved else load_dataset(str(place))
    except Exception as error:  # a hub that cannot be reached, or a damaged file, shows in many ways
        if isinstance(place, tuple):
            raise ValueError(f"{place[0]} cannot be loaded from the hub ({error}); expected: {expected}") from error
        raise ValueError(f"{place} cannot be read as a data set ({error}); expected: {expected}") from error
    return dict(found) if isinstance(found, DatasetDict) else {}


def is_table(folder: Path) -> bool:
    """Whether a folder holds a data set that was saved, or the parquet files of a download, and no tree of images."""
    return (folder / "dataset_dict.json").exists() or any(
        next(place.glob("*.parquet"), None) is not None for place in (folder, folder / "data")
    )


def photographs(place: Path | tuple[str, ...], names: Sequence[str], *, parted: bool) -> tuple[Rows, Rows]:
    """The photographs of a domain: of its training and its test part, the same where it has no parts.

    Parameters
    ----------
    place:
        As in `open_table`; what it holds is as `EXPECTED` says.
    names:
        Of the domain, as it may be called there; capitals, spaces and the like do not count.
    parted:
        Whether the domain has a training and a test part. Without, all splits that have it count.

    Raises
    ------
    FileNotFoundError, ValueError
        As `open_table`; the splits or columns are others, the domain is not there, or a label is not a class.
    """
    splits = open_table(place, expected=EXPECTED)
    where = place[0] if isinstance(place, tuple) else str(place)
    wanted = {_plain(name) for name in names}
    if splits and all("domain" in rows.column_names for rows in splits.values()):
        if parted and not {"train", "test"} <= set(splits):
            raise ValueError(f"{where} holds the splits {sorted(splits)}; expected: {EXPECTED}")
        picked = [[part] for part in ("train", "test")] if parted else [list(splits)]
        called = {split: _texts(rows, "domain") for split, rows in splits.items()}
        there = {name for some in called.values() for name in some}
    else:
        parts = ("train", "test") if parted else ("",)
        picked = [[split for split in splits if _plain(split) in {one + part for one in wanted}] for part in parts]
        called, there = {}, set(splits)
    found = [
        [row for split in some for row in _photographs(splits[split], f"{split} of {where}", called.get(split), wanted)]
        for some in picked
    ]
    if not all(found):
        raise ValueError(f"{where} has no domain {names[0]!r}; found: {sorted(map(str, there))}; expected: {EXPECTED}")
    return found[0], found[-1]


def _photographs(rows: Any, what: str, domains: Sequence[Any] | None, wanted: Iterable[str]) -> Rows:
    """The rows of a split that are of a wanted domain; None: all are."""
    from datasets import Image

    if not {"image", "label"} <= set(rows.column_names):
        raise ValueError(f"{what} has columns {rows.column_names}; expected: {EXPECTED}")
    if not isinstance(rows.features["image"], Image):
        raise ValueError(f"{what}: column 'image' is of {rows.features['image']}; expected: {EXPECTED}")
    files = rows.select_columns("image").cast_column("image", Image(decode=False))
    found = []
    for number, label in enumerate(_texts(rows, "label")):
        if domains is None or _plain(str(domains[number])) in wanted:
            if label is None:
                raise ValueError(
                    f"{what}: row {number} has the label {rows['label'][number]!r}; allowed: a class of the column, "
                    "text, or a whole number from 0"
                )
            found.append((Row(files, number, what), label))
    return found


def _texts(rows: Any, column: str) -> list[str | None]:
    """What a column says in each row: the name of a class, or else text or a whole number; None: nothing of these."""
    names = getattr(rows.features[column], "names", None)

    def text(value: Any) -> str | None:
        if isinstance(value, str):
            return value
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            return None
        if names is None:
            return str(value)
        return names[value] if value < len(names) else None

    return [text(value) for value in rows[column][:]]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())
