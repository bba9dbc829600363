"""Backbones with weights from ImageNet, through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from tasks.uda.backbones.base import Backbone, check_halved
from tasks.uda.backbones.colour import Colour
from tasks.uda.backbones.vit import Transformer

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_PATCH = 16
_HUB = {
    "resnet50": "microsoft/resnet-50",
    "resnet101": "microsoft/resnet-101",
    "vit_b16": "google/vit-base-patch16-224-in21k",
}


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
    layers = nn.Sequential(Colour(_IMAGENET_MEAN, _IMAGENET_STD), _ResNet(net), _Bottleneck(width))
    return Backbone(layers, width=256, pretrained=True)


def resnet50(channels: int, size: int) -> Backbone:
    """ResNet-50 pretrained on ImageNet-1K, through transformers; FileNotFoundError without its weights.

    Raises
    ------
    ValueError
        Images smaller than 32 pixels.
    """
    check_halved("resnet50", size)
    return resnet_backbone(_from_hub("resnet50"), width=2048)


def resnet101(channels: int, size: int) -> Backbone:
    """ResNet-101 pretrained on ImageNet-1K, through transformers; FileNotFoundError without its weights.

    Raises
    ------
    ValueError
        Images smaller than 32 pixels.
    """
    check_halved("resnet101", size)
    return resnet_backbone(_from_hub("resnet101"), width=2048)


class VisionTransformer(Transformer):
    """A ViT of transformers, whose blocks can be reached."""

    def __init__(self, net: Any) -> None:
        super().__init__(None, width=net.config.hidden_size, pretrained=True)
        self.colour = Colour((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.net = net

    def blocks(self) -> Sequence[nn.Module]:
        # where they are has changed between versions of transformers
        return cast(Sequence[nn.Module], self.net.encoder.layer if hasattr(self.net, "encoder") else self.net.layers)

    def embed(self, images: Tensor) -> Tensor:
        # at another size than the one it was trained at, the positions of its patches are interpolated
        resized = images.shape[-1] != self.net.config.image_size
        tokens: Tensor = self.net.embeddings(self.colour(images), interpolate_pos_encoding=resized)
        return tokens

    def read(self, tokens: Tensor) -> Tensor:
        features: Tensor = self.net.layernorm(tokens)[:, 0]
        return features


def vit_b16(channels: int, size: int) -> VisionTransformer:
    """ViT-B/16 pretrained on ImageNet-21K, through transformers; FileNotFoundError without its weights.

    Raises
    ------
    ValueError
        Images whose size is no multiple of its patches' 16 pixels, or that are one patch.
    """
    if size % _PATCH or size < 2 * _PATCH:
        raise ValueError(
            f"backbone='vit_b16' cuts images into patches of {_PATCH} pixels; got size={size}; "
            f"allowed: multiples of {_PATCH} from {2 * _PATCH}"
        )
    return VisionTransformer(_from_hub("vit_b16"))
