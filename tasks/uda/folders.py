"""MNIST, USPS and SVHN from a folder the user supplies, read with Hugging Face `datasets`. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

EXPECTED = (
    "a data set with splits 'train' and 'test' and columns 'image' and 'label' (0..9), as written by "
    "datasets.save_to_disk, as parquet files (a download of the data set's repository), or as an image folder "
    "(train/0/*.png, ..., test/9/*.png)"
)


def read_folder(folder: Path, *, size: int, channels: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Read the splits `train` and `test` of a digit data set.

    Parameters
    ----------
    folder:
        Holds what `EXPECTED` says.
    size, channels:
        Images become `size` x `size` pixels with 1 (grey) or 3 (RGB) channels.

    Returns
    -------
    dict
        Split name to images, uint8 [N, channels, size, size], and labels, int64 [N].

    Raises
    ------
    FileNotFoundError
        The folder does not exist.
    ValueError
        It lacks a split or a column, or a label is not a digit.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; expected there: {EXPECTED}")
    from datasets import DatasetDict, load_dataset, load_from_disk  # here: a slow import that few runs need

    saved = (folder / "dataset_dict.json").exists()
    found = load_from_disk(str(folder)) if saved else load_dataset(str(folder))
    if not isinstance(found, DatasetDict) or not {"train", "test"} <= set(found):
        splits = sorted(found) if isinstance(found, DatasetDict) else "a single split"
        raise ValueError(f"folder {folder} holds {splits}; expected: {EXPECTED}")
    mode = {1: "L", 3: "RGB"}[channels]
    out = {}
    for split in ("train", "test"):
        rows = found[split]
        if not {"image", "label"} <= set(rows.column_names):
            raise ValueError(f"{split} of {folder} has columns {rows.column_names}; expected: {EXPECTED}")
        labels = torch.tensor(rows["label"][:], dtype=torch.int64)
        if len(labels) == 0 or labels.min() < 0 or labels.max() > 9:
            raise ValueError(f"{split} of {folder} has labels {labels.unique().tolist()}; expected: {EXPECTED}")
        pixels = [_pixels(image, mode, size) for image in rows["image"]]
        out[split] = torch.from_numpy(np.stack(pixels)).reshape(-1, size, size, channels).permute(0, 3, 1, 2), labels
    return out


def _pixels(image: Image.Image, mode: str, size: int) -> np.ndarray:
    return np.asarray(image.convert(mode).resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)
