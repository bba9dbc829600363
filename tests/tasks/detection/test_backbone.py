"""The patched ResNet against the original, and what a folder of weights may hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

from tasks.detection.backbone import Encoder, resnet
from tests.tasks.detection.tiny import BOXES, TINY, images, tiny


def test_dilation_stands_in_for_stride() -> None:
    """But for the block in which the stride was, every other place of the map is as the original network has it."""
    torch.manual_seed(0)
    model = resnet(TINY).eval()
    original = ResNetModel(model.config).eval()
    original.load_state_dict(model.state_dict())
    x = torch.randn(1, 16, 12, 12)
    stage = model.encoder.stages[-1]
    assert not torch.allclose(stage(x)[:, :, ::2, ::2], original.encoder.stages[-1](x))
    for convolution in stage.layers[0].modules():
        if isinstance(convolution, nn.Conv2d) and convolution.kernel_size == (3, 3):
            convolution.dilation = convolution.padding = (1, 1)
    torch.testing.assert_close(stage(x)[:, :, ::2, ::2], original.encoder.stages[-1](x))


def test_dilated_convolutions_reach_two_cells() -> None:
    torch.manual_seed(0)
    model = resnet(replace(TINY, depths=(1, 1, 1, 1))).eval()
    x = torch.randn(8, 16, 9, 9, requires_grad=True)
    model.encoder.stages[-1](x)[:, :, 4, 4].sum().backward()
    assert x.grad is not None
    places = x.grad.abs().sum(dim=(0, 1)).nonzero().tolist()
    assert places == [[row, column] for row in (2, 4, 6) for column in (2, 4, 6)]


@pytest.mark.parametrize(("size", "cells"), [(321, 80), (128, 32), (129, 32), (97, 24)])
def test_the_first_pooling_pads_nothing(size: int, cells: int) -> None:
    torch.manual_seed(0)
    model = resnet(TINY).eval()
    x = torch.rand(1, 3, size, size)
    found = model.embedder(x)
    assert found.shape[2:] == (cells, cells)
    before = model.embedder.embedder(x)
    torch.testing.assert_close(found[0, :, 0, 1], before[0, :, 0:3, 2:5].amax(dim=(1, 2)))


def test_images_are_normalized_as_imagenet() -> None:
    model = tiny().eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (images() - mean[:, None, None]) / std[:, None, None]
    states = model.encoder.backbone(x, output_hidden_states=True).hidden_states
    found = model.encoder(images())
    torch.testing.assert_close(found[0], states[2])
    torch.testing.assert_close(found[1], states[4])


def saved(folder: Path, kind: type = ResNetModel, **changes: Any) -> nn.Module:
    sizes: dict[str, Any] = {
        "embedding_size": TINY.stem,
        "hidden_sizes": list(TINY.stages),
        "depths": list(TINY.depths),
        "layer_type": TINY.layer,
    }
    torch.manual_seed(3)
    model: nn.Module = kind(ResNetConfig(**{**sizes, **changes}))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", [ResNetModel, ResNetForImageClassification])
def test_weights_from_a_folder(tmp_path: Path, kind: type) -> None:
    model = saved(tmp_path, kind)
    backbone = model.resnet if kind is ResNetForImageClassification else model
    before = torch.get_rng_state()
    detector = tiny(weights=str(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(detector.encoder, Encoder)
    torch.testing.assert_close(detector.encoder.backbone.state_dict(), backbone.state_dict(), rtol=0, atol=0)
    assert all(module.training for module in detector.modules())
    assert detector(images())[0].shape == (2, BOXES, 4)


def test_weights_of_other_sizes(tmp_path: Path) -> None:
    saved(tmp_path, depths=[1, 1, 1, 1])
    with pytest.raises(ValueError, match=rf"{tmp_path}.* has depths=\[1, 1, 1, 1\]; allowed: \[1, 1, 1, 2\]"):
        tiny(weights=str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "tanh"}, "has hidden_act='tanh'; allowed: 'relu'"),
        ({"num_channels": 1}, "has num_channels=1; allowed: 3"),
        ({"downsample_in_first_stage": True}, "has downsample_in_first_stage=True; allowed: False"),
        ({"downsample_in_bottleneck": True}, "has downsample_in_bottleneck=True; allowed: False"),
    ],
)
def test_weights_of_another_network(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    saved(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        tiny(weights=str(tmp_path))


def test_what_an_older_configuration_leaves_out_has_its_default(tmp_path: Path) -> None:
    saved(tmp_path)
    path = tmp_path / "config.json"
    known = json.loads(path.read_text())
    del known["downsample_in_bottleneck"]
    path.write_text(json.dumps(known), encoding="utf-8")
    assert tiny(weights=str(tmp_path))(images())[0].shape == (2, BOXES, 4)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "no readable config.json"),
        ("config.json", "{", "no readable config.json"),
        ("config.json", "[]", "config.json that is a list"),
        ("config.json", '{"model_type": "vit"}', "has model_type='vit'; allowed: 'resnet'"),
        ("model.safetensors", None, "no readable weights"),
        ("model.safetensors", "?", "no readable weights"),
    ],
)
def test_weights_that_cannot_be_read(tmp_path: Path, file: str, content: str | None, message: str) -> None:
    saved(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        tiny(weights=str(tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_weights_whose_tensors_belie_the_config(tmp_path: Path) -> None:
    saved(tmp_path, hidden_sizes=[8, 8, 16, 24])
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_sizes": [8, 8, 16, 16]}), encoding="utf-8")
    with pytest.raises(ValueError, match="no readable weights of these sizes"):
        tiny(weights=str(tmp_path))


def test_weights_that_lack_a_tensor(tmp_path: Path) -> None:
    saved(tmp_path, depths=[1, 1, 1, 1])
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"depths": [1, 1, 1, 2]}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"lacks \['encoder.stages.3.layers.1"):
        tiny(weights=str(tmp_path))
