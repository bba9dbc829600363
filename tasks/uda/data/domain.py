"""What a domain is: named classes, and images with labels in a training, a validation and a test part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from tasks.uda.data.photos import Photos

DIGITS = tuple(str(digit) for digit in range(10))
"""The classes of every domain of digits."""

_SPLIT_SEED = 0  # splits of real data are part of the protocol: the same in every run


@dataclass(frozen=True)
class Split:
    """Images, uint8 [N, channels, size, size], in memory or as `Photos` on disk, with labels, int64 [N]."""

    images: Tensor | Photos
    """Or, behind a backbone's fixed layers, float32 maps [N, channels, size, size] in memory."""
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: Tensor) -> Split:
        """These rows, int64 [k]. Photographs stay on disk: read here, they would all be cut alike from then on."""
        images = self.images.part(rows) if isinstance(self.images, Photos) else self.images[rows]
        return Split(images, self.labels[rows])

    def first(self, count: int) -> Split:
        """The first `count` of them, or all where there are fewer."""
        return self.part(torch.arange(min(count, len(self))))

    def apart(self, share: float, *, seed: int) -> tuple[Split, Split]:
        """What stays, and `count_apart` images that are drawn from the seed, whatever the labels.

        >>> kept, held = Split(torch.zeros(20, 1, 2, 2), torch.zeros(20)).apart(0.1, seed=0)
        >>> len(kept), len(held)
        (18, 2)
        """
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        count = count_apart(len(self), share)
        return self.part(order[count:].sort().values), self.part(order[:count].sort().values)

    def to(self, device: torch.device) -> Split:
        """The same on another device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Domain:
    """One domain: `train` is trained on (unlabelled when target), `validation` selects, `test` is reported.

    Labels are positions in `classes`. `numbers` are those that lists of files give the classes, in the same order; ()
    where there are no lists.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...] = DIGITS
    numbers: tuple[int, ...] = ()


def count_apart(total: int, share: float) -> int:
    """How many of `total` images `Split.apart` sets aside: a share, and at least the two that batch norm needs.

    >>> count_apart(1078, 0.1), count_apart(4, 0.1), count_apart(1078, 0)
    (108, 2, 0)
    """
    return max(2, round(share * total)) if share else 0


def hold_out(images: Tensor | Photos, labels: Tensor, *, count: int) -> tuple[Split, Split]:
    """Set `count` images aside, as many of each class as its share says, always the same: what stays, and those."""
    kept_rows, held_rows = train_test_split(
        np.arange(len(labels)), test_size=count, stratify=labels.numpy(), random_state=_SPLIT_SEED
    )
    whole = Split(images, labels)
    return whole.part(torch.from_numpy(kept_rows)), whole.part(torch.from_numpy(held_rows))
