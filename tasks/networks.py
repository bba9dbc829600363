"""What every task does with its networks: evaluate without a trace, initialise from a seed of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call


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


def as_constants(network: nn.Module, inputs: Tensor) -> Tensor:
    """What the network makes of `inputs`, its parameters being constants and its buffers staying as they are.

    Gradients flow into the inputs alone, of every order.

    >>> net = nn.Linear(2, 1)
    >>> as_constants(net, torch.ones(1, 2, requires_grad=True)).sum().backward()
    >>> net.weight.grad is None
    True
    """
    parameters = {name: one.detach() for name, one in network.named_parameters()}
    buffers = {name: one.clone() for name, one in network.named_buffers()}
    out: Tensor = functional_call(network, {**parameters, **buffers}, (inputs,))
    return out
