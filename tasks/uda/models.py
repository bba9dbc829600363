"""A generator of features and two classifiers on top, in the sizes that the digit domains ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tasks.networks import seeded
from tasks.uda.data import CLASSES


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
    """The generator's convolutions and last linear layer (`features`; None: none), and a classifier's hidden layers."""

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


class Generator(nn.Module):
    """Images [N, channels, size, size] to features [N, `width`]."""

    def __init__(self, architecture: Architecture, *, channels: int, size: int) -> None:
        super().__init__()
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
        self.width = channels * size * size
        if architecture.features is not None:
            layers += [nn.Linear(self.width, architecture.features), nn.BatchNorm1d(architecture.features), nn.ReLU()]
            self.width = architecture.features
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features


class Classifier(nn.Sequential):
    """Features [N, width] to logits [N, 10]: linear layers with batch norm and ReLU between them."""

    def __init__(self, width: int, hidden: Sequence[int]) -> None:
        layers: list[nn.Module] = []
        for out in hidden:
            layers += [nn.Linear(width, out), nn.BatchNorm1d(out), nn.ReLU()]
            width = out
        super().__init__(*layers, nn.Linear(width, CLASSES))


def build(*, channels: int, size: int, seed: int) -> tuple[Generator, nn.ModuleList]:
    """The generator and two classifiers that differ in their initialisation, on the CPU.

    Torch's global random state is left as it was.

    Raises
    ------
    ValueError
        No architecture for this size.

    Examples
    --------
    >>> import torch
    >>> generator, classifiers = build(channels=1, size=16, seed=0)
    >>> [classifier(generator(torch.zeros(2, 1, 16, 16))).shape for classifier in classifiers]
    [torch.Size([2, 10]), torch.Size([2, 10])]
    """
    if size not in ARCHITECTURES:
        raise ValueError(f"no architecture for size={size}; allowed: {sorted(ARCHITECTURES)}")
    architecture = ARCHITECTURES[size]
    with seeded(seed):
        generator = Generator(architecture, channels=channels, size=size)
        classifiers = nn.ModuleList(Classifier(generator.width, architecture.hidden) for _ in range(2))
    return generator, classifiers
