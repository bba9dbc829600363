"""The two networks of the conditional-adversarial digit protocol: LeNet at 28 pixels, DTN at 32."""

from __future__ import annotations

from torch import nn

from tasks.uda.backbones.base import Backbone


def lenet(channels: int, size: int) -> Backbone:
    """LeNet: convolutions of 20 and 50 channels (5x5, pooled), 500 features, dropout; one linear layer classifies.

    Layer widths of Long et al. 2018's USPS and MNIST network.

    >>> lenet(1, 28).width
    500
    """
    if size != 28:
        raise ValueError(f"backbone='lenet' is for size=28, got size={size}; allowed: 28")
    layers = nn.Sequential(
        nn.Conv2d(channels, 20, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(20, 50, 5),
        nn.Dropout2d(0.5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(50 * 4 * 4, 500),
        nn.ReLU(),
        nn.Dropout(0.5),
    )
    return Backbone(layers, width=500)


def dtn(channels: int, size: int) -> Backbone:
    """DTN: three strided 5x5 convolutions of 64, 128 and 256 channels with batch norm and dropout, 512 features.

    Layer widths of Long et al. 2018's SVHN network.

    >>> dtn(3, 32).width
    512
    """
    if size != 32:
        raise ValueError(f"backbone='dtn' is for size=32, got size={size}; allowed: 32")
    layers: list[nn.Module] = []
    for out, dropout in ((64, 0.1), (128, 0.3), (256, 0.5)):
        layers += [nn.Conv2d(channels, out, 5, stride=2, padding=2), nn.BatchNorm2d(out), nn.Dropout2d(dropout)]
        layers.append(nn.ReLU())
        channels = out
    layers += [nn.Flatten(), nn.Linear(256 * 4 * 4, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.5)]
    return Backbone(nn.Sequential(*layers), width=512)
