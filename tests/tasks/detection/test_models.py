"""The network against its published form, its parameters against their gradients, and its encoder's two states."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from tasks.detection.config import STAGES, Stage
from tasks.detection.models import Detector, build
from tests.tasks.detection.tiny import BOXES, TINY, images, tiny


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
        (
            {"sources": (2, 3), "priors": (replace(TINY.priors[1], cells=6), *TINY.priors[1:])},
            r"maps of \(6, 6, 3, 1\) cells; a deconvolution of kernel 2 and stride 2 leads from 6 cells to 12",
        ),
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
