"""What every task does with its networks: evaluate without a trace, initialise from a seed of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards each part is in the mode it was in.

    >>> net = nn.Dropout()
    >>> with evaluating(net):
    ...     net.training
    False
    >>> net.training
    True
    """
    modes = {part: part.training for module in modules for part in module.modules()}
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's default generator on the CPU begins at `seed` inside; afterwards it is where it was.

    Initialisation draws from it: networks built inside are a function of the seed.

    >>> with seeded(0):
    ...     first = nn.Linear(2, 2).weight
    >>> with seeded(0):
    ...     bool((nn.Linear(2, 2).weight == first).all())
    True
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
