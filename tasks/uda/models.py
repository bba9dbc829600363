"""A generator of features and two classifiers on top, in the sizes that the digit domains ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tasks.uda.data import CLASSES


@dataclass(frozen=True)
class Architecture:
    """Sizes of generator and classifiers.

    `convolutions`: output channels, each with batch norm and ReLU, the first `POOLED` followed by 2x2 max pooling.
    `padded`: whether a convolution keeps the image's size. `features`: a last linear layer of the generator, or None.
    `hidden`: hidden layers of a classifier.
    """

    convolutions: tuple[int, ...]
    kernel: int
    padded: bool
    features: int | None
    hidden: tuple[int, ...]


POOLED = 2

ARCHITECTURES = {
    16: Architecture((16, 32), kernel=3, padded=True, features=None, hidden=(64,)),
    28: Architecture((32, 48), kernel=5, padded=False, features=None, hidden=(100, 100)),
    32: Architecture((64, 64, 128), kernel=5, padded=True, features=3072, hidden=(2048,)),
}
"""By image size. 28 and 32 have the layer sizes of Saito et al. 2018's digit networks, without their dropout: it draws
from the global random state, which a resumed run cannot see."""


class Generator(nn.Module):
    """Images [N, channels, size, size] to features [N, `width`]."""

    def __init__(self, architecture: Architecture, *, channels: int, size: int) -> None:
        super().__init__()
        padding = architecture.kernel // 2 if architecture.padded else 0
        layers: list[nn.Module] = []
        for depth, out in enumerate(architecture.convolutions):
            layers += [nn.Conv2d(channels, out, architecture.kernel, padding=padding), nn.BatchNorm2d(out), nn.ReLU()]
            size = size + 2 * padding - architecture.kernel + 1
            if depth < POOLED:
                layers.append(nn.MaxPool2d(2))
                size //= 2
            channels = out
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
    >>> generator, classifiers = build(channels=1, size=16, seed=0)
    >>> [classifier(generator(torch.zeros(2, 1, 16, 16))).shape for classifier in classifiers]
    [torch.Size([2, 10]), torch.Size([2, 10])]
    """
    if size not in ARCHITECTURES:
        raise ValueError(f"no architecture for size={size}; allowed: {sorted(ARCHITECTURES)}")
    architecture = ARCHITECTURES[size]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        generator = Generator(architecture, channels=channels, size=size)
        classifiers = nn.ModuleList(Classifier(generator.width, architecture.hidden) for _ in range(2))
    return generator, classifiers
