"""Convolutional networks in the sizes that the digit domains ask for."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from tasks.uda.backbones.base import Backbone


@dataclass(frozen=True)
class Convolution:
    """A convolution to `out` channels, then batch norm, ReLU and, with `pool`, 2x2 max pooling."""

    out: int
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: bool = False


@dataclass(frozen=True)
class Architecture:
    """The convolutions and last linear layer (`features`; None: none), and a classifier's hidden layers."""

    convolutions: tuple[Convolution, ...]
    features: int | None
    hidden: tuple[int, ...]


ARCHITECTURES = {
    # strides in place of pooling: on one core a step costs a third
    16: Architecture(
        (Convolution(16, 5, stride=2, padding=2), Convolution(32, 3, stride=2, padding=1)),
        features=128,
        hidden=(64,),
    ),
    28: Architecture((Convolution(32, 5, pool=True), Convolution(48, 5, pool=True)), features=None, hidden=(100, 100)),
    32: Architecture(
        (
            Convolution(64, 5, padding=2, pool=True),
            Convolution(64, 5, padding=2, pool=True),
            Convolution(128, 5, padding=2),
        ),
        features=3072,
        hidden=(2048,),
    ),
}
"""By image size. 28 and 32 have the layer widths of Saito et al. 2018's digit networks, without their dropout."""


def digits(channels: int, size: int) -> Backbone:
    """The network of `ARCHITECTURES` for this size, from scratch.

    Raises
    ------
    ValueError
        No architecture for this size.

    Examples
    --------
    >>> import torch
    >>> digits(1, 16)(torch.zeros(2, 1, 16, 16)).shape
    torch.Size([2, 128])
    """
    if size not in ARCHITECTURES:
        raise ValueError(f"backbone='digits' has no architecture for size={size}; allowed: {sorted(ARCHITECTURES)}")
    architecture = ARCHITECTURES[size]
    layers: list[nn.Module] = []
    for conv in architecture.convolutions:
        layers += [
            nn.Conv2d(channels, conv.out, conv.kernel, stride=conv.stride, padding=conv.padding),
            nn.BatchNorm2d(conv.out),
            nn.ReLU(),
        ]
        size = (size + 2 * conv.padding - conv.kernel) // conv.stride + 1
        if conv.pool:
            layers.append(nn.MaxPool2d(2))
            size //= 2
        channels = conv.out
    layers.append(nn.Flatten())
    width = channels * size * size
    if architecture.features is not None:
        layers += [nn.Linear(width, architecture.features), nn.BatchNorm1d(architecture.features), nn.ReLU()]
        width = architecture.features
    return Backbone(nn.Sequential(*layers), width=width, hidden=architecture.hidden)
