"""Backbones by name: images to features. Adding one is a file and a line here.

Each is built by a function of channels and size that draws from torch's default generator, and comes back as a
`Backbone`: what systems read of it is its `width`, the hidden layers its classifiers want, and whether it is
pretrained.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from tasks.uda.backbones.base import Backbone
from tasks.uda.backbones.digits import ARCHITECTURES, digits
from tasks.uda.backbones.efficientnet import (
    efficientnet_lite0,
    efficientnet_lite0_early,
    efficientnet_lite0_late,
)
from tasks.uda.backbones.lenet import dtn, lenet
from tasks.uda.backbones.pretrained import resnet50, resnet101, vit_b16
from tasks.uda.backbones.vit import SIZES, vit_small

BACKBONES: dict[str, Callable[[int, int], Backbone]] = {
    "digits": digits,
    "lenet": lenet,
    "dtn": dtn,
    "vit_small": vit_small,
    "efficientnet_lite0": efficientnet_lite0,
    "efficientnet_lite0_late": efficientnet_lite0_late,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "vit_b16": vit_b16,
}
"""Name to a function of (channels, size)."""

FIXED: dict[str, Callable[[int, int], nn.Module]] = {"efficientnet_lite0_late": efficientnet_lite0_early}
"""Name to a function of (channels, size) of images that builds what stands before the backbone and is never trained.

Every image passes it once, before training; what comes out is what the backbone is built for."""


def default_backbone(size: int, *, transformer: bool = False) -> str:
    """The backbone for images of a size; with `transformer`, one whose blocks can be reached.

    >>> default_backbone(16), default_backbone(96), default_backbone(224, transformer=True)
    ('digits', 'efficientnet_lite0', 'vit_b16')
    """
    if transformer:
        return "vit_small" if size in SIZES else "vit_b16"
    if size in ARCHITECTURES:
        return "digits"
    return "resnet50" if size >= 224 else "efficientnet_lite0"


__all__ = ["BACKBONES", "FIXED", "Backbone", "default_backbone"]
