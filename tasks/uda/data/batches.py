"""Endless mini-batches of a split, drawn from a seed and resumable anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tasks.uda.data.domain import Split
from tasks.uda.data.photos import Photos

_MOST_TOGETHER = 1000
_PIXELS_TOGETHER = 2**22  # 83 photographs of 224x224, and all images of a style


def normalize(images: Tensor) -> Tensor:
    """uint8 pixels to float32 in [-1, 1]; maps of a backbone's fixed layers, float32 already, stay as they are.

    >>> normalize(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    return images if images.is_floating_point() else images.float() / 127.5 - 1


def together(images: Tensor | Photos) -> int:
    """How many of these images a network is asked about at once: fewer, the larger they are, for memory's sake.

    >>> together(torch.empty(0, 1, 16, 16)), together(torch.empty(0, 3, 224, 224))
    (1000, 83)
    """
    return max(1, min(_MOST_TOGETHER, _PIXELS_TOGETHER // (images.shape[2] * images.shape[3])))


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
    name:
        What the split is, for errors.

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

    def __init__(self, split: Split, *, batch_size: int, seed: int, name: str = "the split") -> None:
        if batch_size > len(split):
            raise ValueError(f"batch_size={batch_size} is more than {name} holds; allowed: up to {len(split)}")
        self._split = split
        self._batch_size = batch_size
        self._generator = torch.Generator().manual_seed(seed)
        self._order = torch.randperm(len(split), generator=self._generator)
        self._position = 0

    def draw(self) -> tuple[Tensor, Tensor]:
        """The next batch: images, float32 in [-1, 1], and labels. Photographs come as random crops, mirrored or not."""
        if self._position + self._batch_size > len(self._order):
            self._order = torch.randperm(len(self._split), generator=self._generator)
            self._position = 0
        rows = self._order[self._position : self._position + self._batch_size].to(self._split.labels.device)
        self._position += self._batch_size
        images = self._split.images
        pixels = images.crops(rows, generator=self._generator) if isinstance(images, Photos) else images[rows]
        return normalize(pixels), self._split.labels[rows]

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
