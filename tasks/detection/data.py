"""The parts of a detection data set, and the batches drawn from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tasks.detection import glyphs, scenes
from tasks.detection.augment import AugmentSettings, augment, resize
from tasks.detection.verdicts import Truth
from tasks.detection.voc import VOC_CLASSES, Devkit, Record, read_image, read_voc

TRAIN_SETS = (("VOC2007", "trainval"), ("VOC2012", "trainval"))
TEST_SETS = (("VOC2007", "test"),)
"""The usual 07+12 protocol."""

CACHE_BYTES = 2**30
"""Decoded images held in memory by one collection: all of `shapes-voc`, an eighth of 07+12."""

_HELD_OUT = 0.08  # of the training images


class Collection:
    """Annotated images, decoded when asked for and then kept while they fit.

    Parameters
    ----------
    records, classes, skipped:
        As `tasks.detection.voc.read_voc` gives them. `skipped` is what was left out of all that was read.
    cache_bytes:
        Images are kept, decoded, until their total would pass this.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        classes: tuple[str, ...],
        skipped: Mapping[Path, str],
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.records = tuple(records)
        self.classes = classes
        self.skipped = skipped
        self._cache: dict[int, np.ndarray] = {}
        self._room = cache_bytes

    def __len__(self) -> int:
        return len(self.records)

    def image(self, row: int) -> np.ndarray:
        """uint8 [h, w, 3]; raises VocError, naming the file, where it cannot be decoded."""
        image = self._cache.get(row)
        if image is None:
            image = read_image(self.records[row].path, upright=self.records[row].upright)
            image.setflags(write=False)
            if image.nbytes <= self._room:
                self._cache[row] = image
                self._room -= image.nbytes
        return image

    def boxes(self, row: int) -> np.ndarray:
        """Corners in units of the image's sides, float32 [k, 4]."""
        record = self.records[row]
        return record.boxes / np.array(record.size * 2, dtype=np.float32)


@dataclass(frozen=True)
class Batch:
    """What a detector trains on: images, float32 [N, 3, S, S] in [0, 1], and for each of them the objects in it.

    boxes: float32 [k, 4], corners in units of the image's sides. labels: int64 [k].
    """

    images: Tensor
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        boxes, labels = (tuple(one.to(device) for one in some) for some in (self.boxes, self.labels))
        return Batch(self.images.to(device), boxes, labels)


@dataclass(frozen=True)
class Evaluation:
    """What a detector is judged on: images as in `Batch`, and their truths and sizes (width, height) in pixels.

    Truths are boxes in pixels of the original image, labels, and the flags of difficult objects.
    """

    images: Tensor
    truths: tuple[Truth, ...]
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Parts:
    """`train` is trained on, `validation` selects, `test` is reported."""

    train: Collection
    validation: Collection
    test: Collection


def batch(
    collection: Collection,
    rows: Sequence[int] | Tensor,
    *,
    size: int,
    seed: int,
    index: int,
    augmented: bool = True,
    settings: AugmentSettings | None = None,
) -> Batch:
    """Images to train on: a function of the arguments alone, so that a resumed run repeats it.

    Objects flagged difficult are trained on like the others, as in SSD's training on VOC.

    Parameters
    ----------
    collection, rows:
        The images, as int64 [N] or a sequence of ints. A row given twice is augmented twice.
    size:
        Side of the images, pixels.
    seed, index:
        Of the run, and of the training step.
    augmented:
        False: whole images, resized.
    settings:
        Of the augmentation; None: as published.

    Raises
    ------
    VocError
        Naming the file that cannot be decoded.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     train = load(cache_dir=folder, counts=(4, 1, 1)).train
    ...     some = batch(train, [0, 2], size=64, seed=0, index=5)
    >>> some.images.shape, len(some.boxes), some.labels[0].dtype
    (torch.Size([2, 3, 64, 64]), 2, torch.int64)
    """
    pictures, boxes, labels = [], [], []
    for place, row in enumerate(_numbers(rows)):
        picture, found, names = collection.image(row), collection.boxes(row), collection.records[row].labels
        if augmented:
            rng = np.random.default_rng([seed, index, place])
            picture, found, names = augment(picture, found, names, size=size, rng=rng, settings=settings)
        else:
            picture = resize(picture, size=size)
        pictures.append(picture)
        boxes.append(torch.from_numpy(found))
        labels.append(torch.from_numpy(names))
    return Batch(_stacked(pictures), tuple(boxes), tuple(labels))


def evaluation_images(collection: Collection, rows: Sequence[int] | Tensor, *, size: int) -> Evaluation:
    """Whole images resized to `size` x `size`, with their truths; difficult objects are flagged, not left out.

    Raises
    ------
    VocError
        Naming the file that cannot be decoded.
    """
    numbers = _numbers(rows)
    records = [collection.records[row] for row in numbers]
    return Evaluation(
        _stacked([resize(collection.image(row), size=size) for row in numbers]),
        tuple(Truth(record.boxes, record.labels, record.difficult) for record in records),
        tuple(record.size for record in records),
    )


def load(
    data_dir: str | None = None,
    *,
    train_sets: Sequence[tuple[str, str]] = TRAIN_SETS,
    test_sets: Sequence[tuple[str, str]] = TEST_SETS,
    on_error: Literal["raise", "skip"] = "raise",
    negatives: bool = False,
    first_pixel: Literal[0, 1] = 1,
    counts: tuple[int, int, int] = (2000, 250, 500),
    seed: int = 0,
    cache_dir: str | None = None,
) -> Parts:
    """`shapes-voc`, or a VOC devkit.

    Parameters
    ----------
    data_dir:
        A folder with VOC2007 and VOC2012 in it; None: `shapes-voc`, written on first use.
    train_sets, test_sets, on_error, negatives, first_pixel:
        Of the devkit, as in `tasks.detection.voc.read_voc`; 8 % of the training images, always the same, validate.
    counts, seed, cache_dir:
        Of `shapes-voc`, as in `tasks.detection.scenes.shapes_voc`: train, validation, test; seed; its `root`.

    Returns
    -------
    Parts
        The same objects again for the same arguments.

    Raises
    ------
    VocError, ValueError, TypeError
        As `read_voc` and `shapes_voc` have it; fewer than two training images or no test image.
    """
    if data_dir is None:
        return _shapes(cache_dir, counts, seed)
    return _devkit(data_dir, tuple(train_sets), tuple(test_sets), on_error, negatives, first_pixel)


@lru_cache(maxsize=2)
def _shapes(cache_dir: str | None, counts: tuple[int, int, int], seed: int) -> Parts:
    train, validation, test = counts
    root = scenes.shapes_voc(cache_dir, train=train, validation=validation, test=test, seed=seed)
    return Parts(
        *(_collection(read_voc(root, [(scenes.FOLDER, part)], classes=glyphs.CLASSES)) for part in scenes.PARTS)
    )


@lru_cache(maxsize=2)
def _devkit(
    data_dir: str,
    train_sets: tuple[tuple[str, str], ...],
    test_sets: tuple[tuple[str, str], ...],
    on_error: Literal["raise", "skip"],
    negatives: bool,
    first_pixel: Literal[0, 1],
) -> Parts:
    train, test = (
        read_voc(data_dir, sets, classes=VOC_CLASSES, on_error=on_error, negatives=negatives, first_pixel=first_pixel)
        for sets in (train_sets, test_sets)
    )
    for name, devkit, least in (("training", train, 2), ("test", test, 1)):
        if len(devkit) < least:
            raise ValueError(
                f"the {name} sets of {data_dir} have {len(devkit)} images ({len(devkit.skipped)} were skipped); "
                f"allowed: at least {least}"
            )
    # by the digest of their names: the same in every run, and an image that is skipped moves no other
    order = np.argsort([hashlib.sha256(record.name.encode()).hexdigest() for record in train.records], kind="stable")
    count = max(1, round(_HELD_OUT * len(train)))
    held, kept = np.sort(order[:count]), np.sort(order[count:])
    return Parts(_collection(train, kept), _collection(train, held), _collection(test))


def _collection(devkit: Devkit, rows: np.ndarray | None = None) -> Collection:
    records = devkit.records if rows is None else [devkit.records[row] for row in rows.tolist()]
    return Collection(records, classes=devkit.classes, skipped=devkit.skipped)


def _numbers(rows: Sequence[int] | Tensor) -> list[int]:
    return [int(row) for row in rows]


def _stacked(images: Sequence[np.ndarray]) -> Tensor:
    """uint8 [S, S, 3] each to float32 [N, 3, S, S] in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().contiguous() / 255
