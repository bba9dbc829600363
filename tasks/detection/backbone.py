"""The encoder: a ResNet in the form that SSD takes it in, and the residual bodies on top."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

from tasks.detection.config import Config
from tasks.detection.layers import Body

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet: what pretrained weights were trained on


_STRUCTURE = (
    "model_type",
    "num_channels",
    "layer_type",
    "hidden_act",
    "embedding_size",
    "hidden_sizes",
    "depths",
    "downsample_in_first_stage",
    "downsample_in_bottleneck",
)
"""What a folder's configuration has to agree on: what is left out of this would be taken from there unseen."""


def resnet(config: Config, *, weights: str | None = None) -> ResNetModel:
    """A ResNet whose first pooling pads nothing and whose last stage is dilated in place of strided.

    Where a stage of bottlenecks halves the map, its 3x3 convolution strides, as in the ResNets for which weights are
    spread today; in the network of 2015 that DSSD began with, the 1x1 before it did. Sizes are the same.

    From 321 pixels the maps have 161, 80 (after pooling), 80, 40, 20 and 20 cells.

    Parameters
    ----------
    config:
        Its `stem`, `stages`, `depths` and `layer` are looked at.
    weights:
        A local folder with a ResNet of these sizes, saved by `transformers` (`save_pretrained`), a classifier on top
        or not. None: fresh weights, from torch's global generator.

    Raises
    ------
    ValueError
        `weights` holds no such ResNet.
    """
    model = ResNetModel(_hugging_face(config)) if weights is None else _pretrained(config, weights)
    model.train()
    # rounding up is what pooling did in the framework of the publication; it matters to even sizes only
    model.embedder.pooler = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    for convolution in model.encoder.stages[-1].modules():
        if isinstance(convolution, nn.Conv2d):
            convolution.stride = (1, 1)
            if convolution.kernel_size == (3, 3):
                convolution.dilation = convolution.padding = (2, 2)
    return model


def _hugging_face(config: Config) -> ResNetConfig:
    return ResNetConfig(
        embedding_size=config.stem,
        hidden_sizes=list(config.stages),
        depths=list(config.depths),
        layer_type=config.layer,
    )


def _pretrained(config: Config, folder: str) -> ResNetModel:
    wanted = _hugging_face(config)
    try:
        found = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"weights={folder!r} holds no readable config.json") from error
    if not isinstance(found, dict):
        raise ValueError(f"weights={folder!r} has a config.json that is a {type(found).__name__}; allowed: an object")
    defaults = ResNetConfig()  # of what an older file leaves out
    for name in _STRUCTURE:
        value, allowed = found.get(name, getattr(defaults, name)), getattr(wanted, name)
        if value != allowed:
            raise ValueError(f"weights={folder!r} has {name}={value!r}; allowed: {allowed!r}")
    try:
        loaded: Any = ResNetModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except (OSError, RuntimeError, SafetensorError) as error:  # a runtime error: tensors of other sizes
        raise ValueError(f"weights={folder!r} holds no readable weights of these sizes") from error
    model, report = cast(tuple[ResNetModel, dict[str, Any]], loaded)
    if report["missing_keys"]:
        raise ValueError(f"weights={folder!r} lacks {sorted(report['missing_keys'])}")
    return model


class Encoder(nn.Module):
    """Images [N, 3, size, size] in [0, 1] to the source maps, from the largest to the smallest."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: ResNetModel, config: Config) -> None:
        super().__init__()
        self.backbone = backbone
        self.sources = config.sources
        inside, outputs = config.extra_channels
        inputs = [config.stages[-1], *[outputs] * len(config.extras)]
        self.extras = nn.ModuleList(
            Body(channels, inside, outputs, kernel=extra.kernel, stride=extra.stride, shrink=True)
            for channels, extra in zip(inputs, config.extras, strict=False)
        )
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        states = self.backbone((images - self.mean) / self.std, output_hidden_states=True).hidden_states
        maps = [states[stage + 1] for stage in self.sources]  # the stem's output comes first
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return maps
