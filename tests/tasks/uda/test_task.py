"""The task: which parameters move when, resuming, evaluating, and that it adapts."""

import base64
import copy
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import mtlgrad
from mtlgrad.compare.loop import train
from mtlgrad.compare.problem import Phase
from tasks.uda.models import build
from tasks.uda.task import UDA
from tests.tasks.uda.test_data import digits_on_disk

CPU = torch.device("cpu")


def live(seed: int = 0, **options: Any) -> UDA:
    task = UDA(**{"steps": 10, "batch_size": 16, **options})
    task.setup(seed=seed, device=CPU)
    return task


def descend(phase: Phase) -> None:
    """Plain sum of the losses, restricted to what the phase's optimizers own."""
    owned = [p for o in phase.optimizers for group in o.param_groups for p in group["params"]]
    for optimizer in phase.optimizers:
        optimizer.zero_grad()
    torch.stack(list(phase.losses.values())).sum().backward(inputs=owned)
    for optimizer in phase.optimizers:
        optimizer.step()


def advance(task: UDA, steps: Iterator[int]) -> None:
    for index in steps:
        for phase in task.step(index):
            descend(phase)


def networks(task: UDA) -> dict[str, nn.Module]:
    return {"generator": task._players.generator, "classifiers": task._players.classifiers}


def moved(task: UDA, phase: Phase) -> set[str]:
    before = {name: copy.deepcopy(list(net.parameters())) for name, net in networks(task).items()}
    descend(phase)
    return {
        name
        for name, net in networks(task).items()
        if any(not torch.equal(old, new) for old, new in zip(before[name], net.parameters(), strict=True))
    }


BOTH = {"generator", "classifiers"}
PAIR_C = ("C", ("alignment", "classification"), {"generator"}, "shared")
SINGLE_C = ("C", ("alignment",), {"generator"}, "shared")
STEP_A = ("A", ("classification",), BOTH, "shared")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"method": "source_only"}, [STEP_A]),
        ({"method": "mcd"}, [STEP_A, ("B", ("adversarial",), {"classifiers"}, "shared"), PAIR_C, PAIR_C]),
        (
            {"method": "mcd", "variant": "released"},
            [STEP_A, ("B", ("classification", "discrepancy"), {"classifiers"}, "loss"), SINGLE_C, SINGLE_C],
        ),
        ({"method": "mcd", "warmup": 1}, [STEP_A]),
    ],
)
def test_phases_name_their_losses_and_move_their_players(options: dict, expected: list) -> None:
    task = live(generator_steps=2, **options)
    seen = []
    for phase in task.step(0):
        if len(phase.losses) > 1:
            assert {id(p) for p in phase.shared} == {id(p) for p in task._players.generator.parameters()}
        seen.append((phase.name, tuple(phase.losses), moved(task, phase), phase.apply))
    assert seen == expected


def test_warmup_ends() -> None:
    task = live(warmup=1)
    assert [len(list(task.step(index))) for index in (0, 1)] == [1, 4]


def losses_of(task: UDA, name: str) -> dict[str, torch.Tensor]:
    """The losses of the first phase `name`, nothing having moved."""
    return dict(next(phase for phase in task.step(0) if phase.name == name).losses)


def test_b_opposes_the_classification_by_the_weighted_discrepancy() -> None:
    # batch norm normalises by the batch, so the same networks on the same batch give the released pair's two losses
    combined = losses_of(live(tradeoff=3.0), "B")
    pair = losses_of(live(tradeoff=3.0, variant="released"), "B")
    torch.testing.assert_close(combined["adversarial"], pair["classification"] + pair["discrepancy"])
    assert pair["discrepancy"] < 0


def test_the_tradeoff_scales_the_discrepancy_alone() -> None:
    one, three = (losses_of(live(tradeoff=tradeoff), "C") for tradeoff in (1.0, 3.0))
    torch.testing.assert_close(three["alignment"], 3 * one["alignment"])
    assert torch.equal(three["classification"], one["classification"])


def test_the_learning_rate_falls_linearly() -> None:
    task = live(lr=1e-2)
    rates = []
    for index in (0, 5, 9):
        list(task.step(index))
        rates.append(task._players.generator_optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-2, 5e-3, 1e-3])


@pytest.mark.parametrize("variant", ["principled", "released"])
def test_a_resumed_run_is_the_same_run(variant: str) -> None:
    whole = live(variant=variant)
    advance(whole, range(3))
    snapshot = whole.state_dict()
    buffer = io.BytesIO()
    torch.save(snapshot, buffer)
    advance(whole, range(3, 6))  # must not write into the snapshot
    expected = whole.state_dict()
    for state in (snapshot, torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)):
        resumed = live(seed=9, variant=variant)
        resumed.load_state_dict(state)
        advance(resumed, range(3, 6))
        torch.testing.assert_close(resumed.state_dict(), expected, rtol=0, atol=0)


def test_everything_random_comes_from_the_seed() -> None:
    state = torch.get_rng_state()
    tasks = [live(seed=seed) for seed in (0, 0, 1)]
    for task in tasks:
        torch.rand(3)  # whatever else draws from the global state
        advance(task, range(2))
    first, same, other = (task.state_dict() for task in tasks)
    torch.testing.assert_close(first, same, rtol=0, atol=0)
    assert not torch.equal(first["source_batches"]["order"], other["source_batches"]["order"])
    torch.set_rng_state(state)
    live()
    assert torch.equal(torch.get_rng_state(), state)


def test_the_classifiers_start_apart() -> None:
    _, classifiers = build(channels=1, size=16, seed=0)
    first, second = classifiers
    assert not torch.equal(first[0].weight, second[0].weight)


def test_evaluation_leaves_no_trace() -> None:
    task = live()
    before, rng = task.state_dict(), torch.get_rng_state()
    metrics = task.evaluate()
    task.validation_score()
    task.exhibits()
    torch.testing.assert_close(task.state_dict(), before, rtol=0, atol=0)  # batch norm's statistics are in it
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(module.training for net in networks(task).values() for module in net.modules())
    assert set(metrics) == {"accuracy", "source_accuracy"}
    assert task.metric in metrics
    assert all(0 <= value <= 100 for value in metrics.values())


def test_the_validation_score_sees_the_source_only(monkeypatch: pytest.MonkeyPatch) -> None:
    task = live()
    seen = []
    monkeypatch.setattr(task, "_predict", lambda split: (seen.append(split), split.labels)[1])
    assert task.validation_score() == 100
    assert seen == [task._domains["source"].validation]


def test_training_never_reads_target_labels() -> None:
    task, blind = live(), live()
    labels = blind._batches["target"]._split.labels
    labels_before = labels.clone()
    try:
        labels.fill_(0)  # the domain is cached and shared, hence the repair below
        advance(blind, range(2))
    finally:
        labels.copy_(labels_before)
    advance(task, range(2))
    torch.testing.assert_close(task.state_dict(), blind.state_dict(), rtol=0, atol=0)


def test_exhibits_are_pictures_and_json() -> None:
    shown = json.loads(json.dumps(live().exhibits()))
    images = shown["domains"]["images"]
    assert [image["caption"].split()[0] for image in images] == ["font", "optical"]
    for image in images:
        picture = Image.open(io.BytesIO(base64.b64decode(image["png"])))
        assert picture.size == (160, 64)
        assert picture.mode == "L"
    series = shown["accuracy per class"]["series"]
    assert set(series) == {"font (source)", "optical (target)"}
    assert all(len(s["y"]) == 10 for s in series.values())


def test_it_learns_and_adapting_helps() -> None:
    def final(**options: Any) -> dict[str, float]:
        history = train(
            UDA(steps=120, batch_size=32, generator_steps=1, **options),
            mtlgrad.Sum(),
            seed=0,
            evaluate_every=120,
            diagnose_every=0,
        )
        return dict(history.curve[-1].metrics)

    alone, adapted = final(method="source_only"), final(method="mcd")
    assert min(alone["source_accuracy"], adapted["source_accuracy"]) > 90
    assert 50 < alone["accuracy"] < 85  # a gap there is
    assert adapted["accuracy"] > alone["accuracy"] + 3


@pytest.mark.parametrize("options", [{"variant": "principled"}, {"variant": "released"}])
def test_gradient_harmonization_drives_it(options: dict) -> None:
    history = train(UDA(steps=3, batch_size=16, **options), mtlgrad.GH(), seed=0, evaluate_every=3, diagnose_every=1)
    assert history.status == "ok"
    assert set(history.decisions) == {"C" if options["variant"] == "principled" else "B"}


def test_domains_from_folders_train(tmp_path: Path) -> None:
    for name in ("svhn", "mnist"):
        digits_on_disk(tmp_path / name, mode="RGB", side=32, per_class=2, form="saved")
    digits_on_disk(tmp_path / "usps", mode="L", side=16, per_class=2, form="saved")
    for source, target in (("usps", "mnist"), ("svhn", "usps"), ("font", "mnist")):
        task = live(source=source, target=target, batch_size=4, steps=1, data_dir=str(tmp_path))
        advance(task, range(1))
        assert 0 <= task.evaluate()["accuracy"] <= 100


def test_the_network_for_rgb_images_has_the_published_widths() -> None:
    generator, classifiers = build(channels=3, size=32, seed=0)
    assert generator.width == 3072
    assert [layer.out_features for layer in classifiers[0] if isinstance(layer, nn.Linear)] == [2048, 10]
    small, _ = build(channels=1, size=28, seed=0)
    assert small.width == 768


def test_options_are_echoed_ready_for_json() -> None:
    task = UDA(source="optical", target="font", steps=7)
    assert UDA(**json.loads(json.dumps(task.options))).options == task.options
    assert task.total_steps == 7
    assert task.options["source"] == "optical"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"source": "emnist"}, ValueError, "source='emnist' is unknown; allowed"),
        ({"source": "optical", "target": "optical"}, ValueError, "target='optical' is unknown; allowed.*'font'"),
        ({"method": "dann"}, ValueError, "method='dann' is unknown; allowed.*'mcd'"),
        ({"method": "source_only", "variant": "released"}, ValueError, "variant='released' is unknown"),
        ({"steps": 0}, ValueError, "steps=0 is out of range; allowed: int >= 1"),
        ({"steps": 1.5}, TypeError, "steps=1.5 is a float"),
        ({"batch_size": True}, TypeError, "batch_size=True is a bool"),
        ({"lr": 0}, ValueError, "lr=0 is out of range; allowed: a finite number > 0"),
        ({"lr": float("nan")}, ValueError, "lr=nan"),
        ({"lr": "1"}, TypeError, "lr='1' is a str"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay=-1.0"),
        ({"tradeoff": float("inf")}, ValueError, "tradeoff=inf"),
        ({"momentum": 0.9}, TypeError, "momentum"),
        ({"source": "mnist"}, ValueError, "data_dir=None .*'mnist'.*allowed: a folder"),
        ({"source": "usps", "target": "svhn"}, ValueError, "data_dir=None .*'usps'"),
        ({"data_dir": 3}, TypeError, "data_dir=3 is a int; allowed: text, or none"),
        ({"target": "mnist", "data_dir": ""}, ValueError, "data_dir='' is empty"),
        ({"data_dir": "sets"}, ValueError, "data_dir='sets' has no effect: .*'font'.*'optical'"),
        ({"batch_size": 1079}, ValueError, "batch_size=1079 is out of range; allowed: int >= 2 and <= 1078"),
        ({"target": "mnist", "data_dir": "sets", "batch_size": 6001}, ValueError, "batch_size=6001 .* <= 6000"),
    ],
)
def test_bad_options_are_named(options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        UDA(**options)


def test_an_image_size_without_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"size=20; allowed: \[16, 28, 32\]"):
        build(channels=1, size=20, seed=0)
