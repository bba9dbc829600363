"""Data sets as tables of Hugging Face `datasets`: in a folder, or a repository of the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any


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
