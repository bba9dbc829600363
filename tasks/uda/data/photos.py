"""Photographs on disk, decoded when they are asked for: data sets that do not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor

from tasks.images import read_image

STORED = 256
"""Side that a photograph is resized to before a crop is taken, pixels."""
SIDE = 224
"""Side of the crop."""

CACHE_BYTES = 2**30
"""Decoded photographs that all collections of the process keep together: about 5,400, more than Office-31 has."""

_STORED_BYTES = 3 * STORED**2


@dataclass(frozen=True, eq=False)
class Row:
    """A photograph in a table of Hugging Face `datasets`, whose column `image` gives files undecoded.

    name: of the table, for errors. number: of the row.
    """

    table: Any
    number: int
    name: str

    def file(self) -> tuple[Path | bytes, str]:
        """The file, or what it holds, and what to call it."""
        found = self.table[self.number]["image"] or {"bytes": b"", "path": None}
        called = f"{self.name}: image {self.number}" + (f" ({found['path']})" if found["path"] else "")
        return Path(found["path"]) if found["bytes"] is None else found["bytes"], called


Source = Path | Row
"""Where a photograph is."""


class Cache:
    """Decoded photographs by their place. Those of all caches together stay within `CACHE_BYTES`.

    What is kept is never replaced: a pass over more photographs than fit would replace each before it is asked for
    again. A cache that nobody holds any more makes room.
    """

    def __init__(self) -> None:
        self._images: dict[Source, Tensor] = {}
        _CACHES.add(self)

    def __len__(self) -> int:
        return len(self._images)

    def get(self, path: Source) -> Tensor | None:
        """The photograph, if it is kept."""
        return self._images.get(path)

    def offer(self, path: Source, image: Tensor) -> None:
        """Keep a photograph, if there is room."""
        if kept_bytes() + image.numel() <= CACHE_BYTES:
            self._images[path] = image


_CACHES: WeakSet[Cache] = WeakSet()


def kept_bytes() -> int:
    """What the caches of the process hold."""
    return _STORED_BYTES * sum(len(cache) for cache in _CACHES)


class Photos:
    """A sequence of photographs that is read like a tensor, uint8 [N, 3, 224, 224].

    What is read is the middle of a photograph resized to 256x256. `crops` gives random crops, mirrored or not, which is
    what is trained on; both are the protocol of the systems' released code.

    Parameters
    ----------
    paths:
        Of the image files, or rows of a table.
    device:
        Where what is read goes.
    cache:
        Shared with the collection that this one is a part of.
    """

    def __init__(
        self,
        paths: Sequence[Source],
        *,
        device: torch.device | None = None,
        cache: Cache | None = None,
    ) -> None:
        self.paths = tuple(paths)
        self.device = device or torch.device("cpu")
        self._cache = Cache() if cache is None else cache

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> torch.Size:
        """As a tensor's."""
        return torch.Size([len(self), 3, SIDE, SIDE])

    def to(self, device: torch.device) -> Photos:
        """The same, read to another device."""
        return Photos(self.paths, device=device, cache=self._cache)

    def part(self, rows: Tensor) -> Photos:
        """The photographs in these rows, int64 [k] or bool [N], still on disk."""
        chosen = rows.nonzero().flatten() if rows.dtype == torch.bool else rows
        return Photos([self.paths[row] for row in chosen.tolist()], device=self.device, cache=self._cache)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """The middle of these photographs, uint8 [k, 3, 224, 224]."""
        paths = self.paths[rows] if isinstance(rows, slice) else self.part(rows).paths
        low = (STORED - SIDE) // 2
        found = [self._stored(path)[:, low : low + SIDE, low : low + SIDE] for path in paths]
        return (torch.stack(found) if found else torch.empty(0, 3, SIDE, SIDE, dtype=torch.uint8)).to(self.device)

    def split(self, count: int) -> Iterator[Tensor]:
        """All of them in their order, `count` at a time."""
        return (self[first : first + count] for first in range(0, len(self), count))

    def crops(self, rows: Tensor, *, generator: torch.Generator) -> Tensor:
        """A random crop of each of these photographs, uint8 [k, 3, 224, 224], mirrored with probability 1/2."""
        places = torch.randint(STORED - SIDE + 1, (len(rows), 2), generator=generator).tolist()
        mirrored = (torch.rand(len(rows), generator=generator) < 0.5).tolist()
        found = []
        for path, (top, left), mirror in zip(self.part(rows).paths, places, mirrored, strict=True):
            crop = self._stored(path)[:, top : top + SIDE, left : left + SIDE]
            found.append(crop.flip(2) if mirror else crop)
        return torch.stack(found).to(self.device)

    def _stored(self, path: Source) -> Tensor:
        image = self._cache.get(path)
        if image is None:
            file, name = (path, str(path)) if isinstance(path, Path) else path.file()
            pixels = read_image(file, side=STORED, name=name)
            image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
            self._cache.offer(path, image)
        return image
