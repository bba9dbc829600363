"""The network against its published form, its parameters against their gradients, and its encoder's two states."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

from tasks.detection.backbone import Encoder, resnet
from tasks.detection.config import STAGES, Config, Extra, PriorMap, Stage
from tasks.detection.layers import BatchNorm, Body, Deconvolution
from tasks.detection.models import Detector, build

# the published chain of maps, 3x3 bodies without padding included, at a size that costs nothing
TINY = Config(
    size=96,
    stem=4,
    stages=(8, 8, 16, 16),
    depths=(1, 1, 1, 2),
    layer="bottleneck",
    sources=(1, 3),
    extras=(Extra(2, 2), Extra(3, 1)),
    extra_channels=(4, 12),
    decoder=6,
    prediction_channels=(4, 8),
    kernels=(5, 3, 3, 3),
    priors=(
        PriorMap(12, 8.0, 4.0, 10.0, 20.0),
        PriorMap(6, 16.0, 8.0, 20.0, 40.0, ratios=(2.0,)),
        PriorMap(3, 32.0, 16.0, 40.0, 60.0),
        PriorMap(1, 96.0, 48.0, 60.0, 80.0),
    ),
)
BOXES = 8 * 144 + 4 * 36 + 8 * 9 + 8


def tiny(**options: Any) -> Detector:
    return build(TINY, classes=2, seed=0, **options)


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 96, 96, generator=torch.Generator().manual_seed(0))


def names(model: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    wanted = {id(parameter) for parameter in parameters}
    return {name for name, parameter in model.named_parameters() if id(parameter) in wanted}


def reached(model: nn.Module, loss: Tensor) -> set[str]:
    model.zero_grad()
    loss.backward()
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.fixture(scope="module")
def published() -> Detector:
    """On no device: shapes without memory or arithmetic."""
    with torch.device("meta"):
        return build("dssd321", classes=20, seed=0)


def test_published_maps(published: Detector) -> None:
    maps = published.encoder(torch.empty(2, 3, 321, 321, device="meta"))
    sides, channels = [40, 20, 10, 5, 3, 1], [512, 2048, 1024, 1024, 1024, 1024]
    assert [x.shape for x in maps] == [(2, c, s, s) for c, s in zip(channels, sides, strict=True)]
    decoded = published.decoder(maps)
    assert [x.shape for x in decoded] == [(2, c, s, s) for c, s in zip([512] * 5 + [1024], sides, strict=True)]


@pytest.mark.parametrize("stage", STAGES)
def test_published_predictions(published: Detector, stage: Stage) -> None:
    offsets, logits = published(torch.empty(1, 3, 321, 321, device="meta"), stage=stage)
    assert offsets.shape == (1, 17_080, 4)
    assert logits.shape == (1, 17_080, 21)
    for head, kernel in zip(published.heads[stage], (5, 5, 3, 3, 3, 3), strict=True):
        assert head.localisation.weight.shape == (32, 1024, kernel, kernel)
        assert head.classification.weight.shape == (168, 1024, kernel, kernel)


def test_published_resnet(published: Detector) -> None:
    backbone = published.encoder.backbone
    # ResNet-101 without its classifier has 42,500,160 parameters; the changes of form have none
    assert sum(p.numel() for p in backbone.parameters()) == 42_500_160
    stem = backbone.embedder(torch.empty(1, 3, 321, 321, device="meta"))
    assert stem.shape == (1, 64, 80, 80)
    last = [x for x in backbone.encoder.stages[-1].modules() if isinstance(x, nn.Conv2d)]
    assert {x.stride for x in last} == {(1, 1)}
    assert [x.dilation for x in last if x.kernel_size == (3, 3)] == [(2, 2)] * 3


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


def set_apart(module: nn.Module) -> nn.Module:
    """Batch norms with statistics and scales of their own, so that leaving one out shows; evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight.data, part.running_var, part.bias.data, part.running_mean):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module.eval()


def norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    mean, var, weight, bias = (
        state[f"{name}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


@pytest.mark.parametrize("fusion", ["product", "sum"])
@pytest.mark.parametrize(("kernel", "cells"), [(2, 10), (3, 7)])
def test_deconvolution_module_is_the_published_chain(fusion: Any, kernel: int, cells: int) -> None:
    torch.manual_seed(0)
    module = set_apart(Deconvolution(3, 5, 4, kernel=kernel, stride=4 - kernel if kernel == 3 else 2, fusion=fusion))
    state = module.state_dict()
    below, side = torch.randn(2, 3, 5, 5), torch.randn(2, 5, cells, cells)
    # by hand: a deconvolution spreads each value over its kernel
    stride, spread = (2 if kernel == 2 else 1), torch.zeros(2, 4, cells, cells)
    for row in range(5):
        for column in range(5):
            patch = torch.einsum("ni,iohw->nohw", below[:, :, row, column], state["below.0.weight"])
            top, left = row * stride, column * stride
            spread[:, :, top : top + kernel, left : left + kernel] += patch
    spread += state["below.0.bias"][:, None, None]
    enlarged = norm(F.conv2d(spread, state["below.1.0.weight"], padding=1), state, "below.1.1")
    x = F.relu(norm(F.conv2d(side, state["side.0.0.weight"], padding=1), state, "side.0.1"))
    x = norm(F.conv2d(x, state["side.2.0.weight"], padding=1), state, "side.2.1")
    expected = F.relu(enlarged * x if fusion == "product" else enlarged + x)
    torch.testing.assert_close(module(below, side), expected)


@pytest.mark.parametrize(("kernel", "stride", "shrink"), [(2, 2, True), (3, 1, True), (3, 1, False)])
def test_body_is_the_published_chain(kernel: int, stride: int, shrink: bool) -> None:
    torch.manual_seed(0)
    module = set_apart(Body(5, 3, 7, kernel=kernel, stride=stride, shrink=shrink))
    state, x = module.state_dict(), torch.randn(2, 5, 6, 6)
    inside = F.relu(norm(F.conv2d(x, state["residual.0.0.weight"]), state, "residual.0.1"))
    padding = 0 if shrink else 1
    inside = F.conv2d(inside, state["residual.2.0.weight"], stride=stride, padding=padding)
    inside = F.relu(norm(inside, state, "residual.2.1"))
    residual = norm(F.conv2d(inside, state["residual.4.0.weight"]), state, "residual.4.1")
    shortcut = norm(F.conv2d(x, state["shortcut.0.weight"], stride=stride), state, "shortcut.1")
    torch.testing.assert_close(module(x), F.relu(residual + shortcut))
    side = {2: 3, 3: 4 if shrink else 6}[kernel]
    assert module(x).shape == (2, 7, side, side)
    reach = kernel if shrink else 1
    assert state["shortcut.0.weight"].shape == (7, 5, reach, reach)


def test_batch_norm_of_a_single_value_uses_what_it_has_seen() -> None:
    module, usual = BatchNorm(3), nn.BatchNorm2d(3)
    many = torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(module(many), usual(many))
    before = copy.deepcopy(module.state_dict())
    one = torch.randn(1, 3, 1, 1)
    torch.testing.assert_close(module(one), usual.eval()(one))
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize("stage", STAGES)
def test_predictions_are_in_the_order_of_the_priors(stage: Stage) -> None:
    """Each prediction depends, of its map, on the cell around its prior's centre."""
    model = tiny().eval()
    maps = model.encoder(images(1))
    if stage == "dssd":
        maps = model.decoder(maps)
    offsets, logits, centres = [], [], []
    for head, x, prior in zip(model.heads[stage], maps, TINY.priors, strict=True):
        inside = head.module(x)
        where, what = head.localisation(inside)[0], head.classification(inside)[0]
        for row in range(prior.cells):
            for column in range(prior.cells):
                for box in range(prior.boxes):
                    offsets.append(where[4 * box : 4 * box + 4, row, column])
                    logits.append(what[3 * box : 3 * box + 3, row, column])
                    centres.append([column * prior.step + prior.offset, row * prior.step + prior.offset])
    found = model(images(1), stage=stage)
    torch.testing.assert_close(found, (torch.stack(offsets)[None], torch.stack(logits)[None]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.priors[:, :2] * 96, torch.tensor(centres))
    assert len(centres) == BOXES == len(model.priors)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("prediction", ["plain", "c"])
def test_losses_reach_the_shared_parameters_and_their_own(stage: Stage, prediction: Any) -> None:
    model = tiny(prediction=prediction)
    shared, localisation, classification = (
        names(model, parameters)
        for parameters in (
            model.shared_parameters(stage),
            model.localisation_parameters(stage),
            model.classification_parameters(stage),
        )
    )
    assert not shared & localisation
    assert not shared & classification
    assert not localisation & classification
    assert len(localisation) == len(classification) == 2 * 4
    offsets, logits = model(images(), stage=stage)
    both = offsets.square().mean() + logits.square().mean()
    assert reached(model, both) == shared | localisation | classification
    assert reached(model, model(images(), stage=stage)[0].square().mean()) == shared | localisation
    assert reached(model, model(images(), stage=stage)[1].square().mean()) == shared | classification


def test_every_parameter_belongs_to_a_stage() -> None:
    model = tiny()
    found: set[str] = set()
    for stage in STAGES:
        for method in (model.shared_parameters, model.localisation_parameters, model.classification_parameters):
            parameters = method(stage)
            assert len(parameters) == len({id(parameter) for parameter in parameters})
            found |= names(model, parameters)
    assert found == {name for name, _ in model.named_parameters()}


def test_a_frozen_encoder_stays_as_it_is() -> None:
    model = tiny()
    model.freeze_encoder()
    model.eval()
    model.train()
    assert model.training
    assert model.decoder.training
    before = copy.deepcopy(model.state_dict())
    parameters = (
        model.shared_parameters("dssd")
        + model.localisation_parameters("dssd")
        + model.classification_parameters("dssd")
    )
    assert not any(name.startswith("encoder.") for name in names(model, parameters))
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        offsets, logits = model(images())
        (offsets.square().mean() + logits.square().mean()).backward()
        optimizer.step()
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith("encoder.") for name in changed)
    # all else of the stage moved, its batch norms' statistics included
    assert {name for name in before if name.startswith(("decoder.", "heads.dssd."))} == changed


def test_an_encoder_that_is_not_frozen_trains() -> None:
    model = tiny()
    before = copy.deepcopy(model.encoder.state_dict())
    model(images())
    assert any(not torch.equal(before[name], value) for name, value in model.encoder.state_dict().items())


def test_one_image_trains() -> None:
    model = tiny()
    offsets, logits = model(images(1))
    (offsets.square().mean() + logits.square().mean()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_fusion_and_prediction_replace_those_of_the_config() -> None:
    product, summed = tiny(), tiny(fusion="sum")
    assert all(step.fusion == "product" for step in product.decoder.steps)
    assert all(step.fusion == "sum" for step in summed.decoder.steps)
    torch.testing.assert_close(product.state_dict(), summed.state_dict())
    assert not torch.allclose(product(images())[1], summed(images())[1])
    plain = tiny(prediction="plain")
    assert plain.config == replace(TINY, prediction="plain")
    assert plain.heads["dssd"][0].localisation.weight.shape[1] == TINY.decoder
    assert plain.heads["ssd"][0].localisation.weight.shape[1] == TINY.stages[1]


def test_the_first_predictions_take_no_side() -> None:
    model = tiny()
    offsets, logits = model(images())
    assert offsets.abs().mean() < 0.3
    assert (logits.softmax(dim=-1) - 1 / 3).abs().mean() < 0.1


def test_the_seed_decides_and_the_global_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    one, again, other = (build(TINY, classes=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(one.state_dict(), again.state_dict(), rtol=0, atol=0)
    for name, parameter in one.named_parameters():
        if parameter.ndim == 4:
            assert not torch.equal(parameter, dict(other.named_parameters())[name]), name


def test_a_state_dict_brings_the_network_back() -> None:
    one, other = tiny(), build(TINY, classes=2, seed=5)
    one(images())
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(one.eval()(images()), other.eval()(images()))


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "wide"}, "layer='wide' is unknown"),
        ({"fusion": "mean"}, "fusion='mean' is unknown"),
        ({"prediction": "d"}, "prediction='d' is unknown"),
        ({"depths": (1, 1, 1)}, "differ in length"),
        ({"sources": (1, 2)}, r"sources=\(1, 2\); allowed: ascending stages from 0 to 3, with 3"),
        ({"sources": (3, 1)}, "sources="),
        ({"sources": ()}, "sources="),
        ({"sources": (-1, 3)}, "sources="),
        ({"kernels": (5, 3, 3)}, "allowed: 4 odd numbers"),
        ({"kernels": (5, 3, 2, 3)}, "allowed: 4 odd numbers"),
        ({"size": 128}, r"priors have maps of \(12, 6, 3, 1\) cells; the network's source maps have \(16, 8, 4, 2\)"),
    ],
)
def test_configs_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"config='dssd' is unknown; allowed: \('dssd321', 'dssd-small'\)"):
        build("dssd", classes=2, seed=0)
    with pytest.raises(ValueError, match="classes=0 is out of range"):
        build(TINY, classes=0, seed=0)
    with pytest.raises(TypeError, match=r"classes=2.0 is a float"):
        build(TINY, classes=cast(int, 2.0), seed=0)
    model = tiny()
    with pytest.raises(ValueError, match=r"images have shape \(2, 3, 64, 96\); allowed: \(N, 3, 96, 96\)"):
        model(torch.zeros(2, 3, 64, 96))
    with pytest.raises(ValueError, match="stage='third' is unknown"):
        model(images(), stage=cast(Stage, "third"))
    for method in (model.shared_parameters, model.localisation_parameters, model.classification_parameters):
        with pytest.raises(ValueError, match="stage='third' is unknown"):
            method(cast(Stage, "third"))


def test_maps_of_the_small_network() -> None:
    with torch.device("meta"):
        model = build("dssd-small", classes=6, seed=0)
        maps = model.encoder(torch.empty(1, 3, 128, 128))
    assert [tuple(x.shape[2:]) for x in maps] == [(16, 16), (8, 8), (4, 4), (2, 2)]
