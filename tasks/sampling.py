"""Batches and draws that are functions of seed and step: a resumed run has no sampler to restore."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def stream_seed(seed: int, stream: str, index: int = 0) -> int:
    """A seed for one use at one step, from the run's seed.

    Independent streams: a change in what one draws leaves the others alone.

    >>> stream_seed(0, "weights") == stream_seed(0, "weights"), stream_seed(0, "weights") == stream_seed(0, "batches")
    (True, False)
    """
    return int(np.random.SeedSequence([seed, *stream.encode("ascii"), index]).generate_state(1)[0])


def batch_rows(count: int, batch_size: int, index: int, *, seed: int) -> Tensor:
    """The rows of mini-batch `index`, int64 [batch_size], a function of the arguments alone.

    Every pass over the rows is a permutation of its own, its remainder dropped.

    Raises
    ------
    ValueError
        A batch is larger than the whole.

    Examples
    --------
    >>> sorted(torch.cat([batch_rows(4, 2, index, seed=0) for index in (2, 3)]).tolist())
    [0, 1, 2, 3]
    """
    if batch_size > count:
        raise ValueError(f"batch_size={batch_size} is more than there are to draw from; allowed: up to {count}")
    number, place = divmod(index, count // batch_size)
    return _permutation(count, seed, number)[place * batch_size : (place + 1) * batch_size]


@lru_cache(maxsize=4)
def _permutation(count: int, seed: int, number: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, number]).permutation(count))
