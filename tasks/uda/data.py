"""Domains of digits, split into training, validation and test parts, and the batches drawn from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from tasks.uda import fonts
from tasks.uda.folders import EXPECTED, read_folder

CLASSES = 10
BUILT_IN = ("font", "optical")
"""Domains that come with installed packages."""
FROM_FOLDER = ("mnist", "usps", "svhn")
"""Domains read from `data_dir`/<name>."""

TRAINED_ON = {"font": 6000, "optical": 1078}
"""Images in the training parts of the built-in domains."""

_FONT_SIZES = {"train": TRAINED_ON["font"], "validation": 1000, "test": 2000}
_SPLIT_SEED = 0  # splits of real data are part of the protocol: the same in every run


@dataclass(frozen=True)
class Split:
    """Images, uint8 [N, channels, size, size], with labels, int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Split:
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Domain:
    """One domain: `train` is trained on (unlabelled when target), `validation` selects, `test` is reported."""

    name: str
    train: Split
    validation: Split
    test: Split


def image_shape(source: str, target: str) -> tuple[int, int]:
    """Channels and size that a pair of domains is brought to.

    16x16 grey with a built-in domain; else the usual digit protocol: 28x28 grey with USPS, 32x32 RGB without.

    >>> image_shape("font", "optical"), image_shape("mnist", "usps"), image_shape("svhn", "mnist")
    ((1, 16), (1, 28), (3, 32))
    """
    pair = {source, target}
    if pair & set(BUILT_IN):
        return 1, fonts.SIZE
    return (1, 28) if "usps" in pair else (3, 32)


def load_domain(name: str, *, channels: int, size: int, seed: int = 0, data_dir: str | None = None) -> Domain:
    """Load a domain by name; images come back at `channels` x `size` x `size`.

    Parameters
    ----------
    name:
        One of `BUILT_IN` (16x16 grey only) or `FROM_FOLDER`.
    channels, size:
        See `image_shape`.
    seed:
        Of the rendering, for `font`; the other domains do not depend on it.
    data_dir:
        Holds a folder per name, for `FROM_FOLDER`.

    Raises
    ------
    ValueError
        Unknown name, a built-in domain at another size, or no `data_dir` where one is needed.
    FileNotFoundError
        `data_dir` has no such folder.

    Examples
    --------
    >>> domain = load_domain("optical", channels=1, size=16)
    >>> len(domain.train), len(domain.validation), len(domain.test)
    (1078, 180, 539)
    """
    if name in BUILT_IN:
        if (channels, size) != (1, fonts.SIZE):
            raise ValueError(f"domain {name!r} is 1x{fonts.SIZE}x{fonts.SIZE}; got channels={channels}, size={size}")
        return _font(seed) if name == "font" else _optical()
    if name not in FROM_FOLDER:
        raise ValueError(f"unknown domain {name!r}; allowed: {(*BUILT_IN, *FROM_FOLDER)}")
    if data_dir is None:
        raise ValueError(f"domain {name!r} needs data_dir, a folder that holds {name!r}: {EXPECTED}")
    parts = read_folder(Path(data_dir) / name, size=size, channels=channels)
    images, labels = parts["train"]
    train, validation = _stratified(images, labels, fraction=0.1)
    return Domain(name, train, validation, Split(*parts["test"]))


@lru_cache(maxsize=4)
def _font(seed: int) -> Domain:
    generator = torch.Generator().manual_seed(seed)
    parts = {}
    for part, count in _FONT_SIZES.items():
        labels = torch.arange(count) % CLASSES
        parts[part] = Split(fonts.render(labels, generator=generator), labels)
    return Domain("font", **parts)


@lru_cache(maxsize=1)
def _optical() -> Domain:
    digits = load_digits()
    small = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    images = F.interpolate(small, size=(fonts.SIZE, fonts.SIZE), mode="bilinear", align_corners=False)
    images = (255 * images).round().to(torch.uint8)
    rest, test = _stratified(images, torch.tensor(digits.target, dtype=torch.int64), fraction=0.3)
    # a tenth of all images, counted before the test part was taken
    train, validation = _stratified(rest.images, rest.labels, fraction=0.1 / 0.7)
    return Domain("optical", train, validation, test)


def _stratified(images: Tensor, labels: Tensor, *, fraction: float) -> tuple[Split, Split]:
    """Split off `fraction` of every class, always the same images."""
    held = max(CLASSES, round(fraction * len(labels)))
    kept_rows, held_rows = train_test_split(
        np.arange(len(labels)), test_size=held, stratify=labels.numpy(), random_state=_SPLIT_SEED
    )
    return Split(images[kept_rows], labels[kept_rows]), Split(images[held_rows], labels[held_rows])


def normalize(images: Tensor) -> Tensor:
    """uint8 pixels to float32 in [-1, 1].

    >>> normalize(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    return images.float() / 127.5 - 1


class Batches:
    """Endless mini-batches without replacement: every pass over the split is a new permutation, its remainder dropped.

    Parameters
    ----------
    split:
        What to draw from.
    batch_size:
        Images per batch.
    seed:
        Of the permutations.

    Raises
    ------
    ValueError
        The split is smaller than one batch.

    Examples
    --------
    >>> split = Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.arange(4))
    >>> batches = Batches(split, batch_size=2, seed=0)
    >>> sorted(torch.cat([batches.draw()[1] for _ in range(2)]).tolist())
    [0, 1, 2, 3]
    """

    def __init__(self, split: Split, *, batch_size: int, seed: int) -> None:
        if batch_size > len(split):
            raise ValueError(f"batch_size={batch_size} is more than the split holds; allowed: up to {len(split)}")
        self._split = split
        self._batch_size = batch_size
        self._generator = torch.Generator().manual_seed(seed)
        self._order = torch.randperm(len(split), generator=self._generator)
        self._position = 0

    def draw(self) -> tuple[Tensor, Tensor]:
        """The next batch: images, float32 in [-1, 1], and labels."""
        if self._position + self._batch_size > len(self._order):
            self._order = torch.randperm(len(self._split), generator=self._generator)
            self._position = 0
        rows = self._order[self._position : self._position + self._batch_size].to(self._split.labels.device)
        self._position += self._batch_size
        return normalize(self._split.images[rows]), self._split.labels[rows]

    def state_dict(self) -> dict[str, Any]:
        """Where the pass stands: the permutation, the position in it, the generator."""
        return {
            "order": self._order.clone(),
            "position": self._position,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._order = state["order"].cpu().clone()
        self._position = state["position"]
        self._generator.set_state(state["generator"].cpu())
