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
    parts = task.system.networks
    heads = [parts[name] for name in parts if name.startswith("classifier")]
    return {"generator": parts["generator"], "classifiers": nn.ModuleList(heads)}


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
STEP_A = ("source", ("classification",), BOTH, "shared")


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
    task = live(**options)
    seen = []
    for phase in task.step(0):
        if len(phase.losses) > 1:
            assert {id(p) for p in phase.shared} == {id(p) for p in task.system.networks["generator"].parameters()}
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
    combined = losses_of(live(settings={"tradeoff": 3.0}), "B")
    pair = losses_of(live(settings={"tradeoff": 3.0}, variant="released"), "B")
    torch.testing.assert_close(combined["adversarial"], pair["classification"] + pair["discrepancy"])
    assert pair["discrepancy"] < 0


def test_the_tradeoff_scales_the_discrepancy_alone() -> None:
    one, three = (losses_of(live(settings={"tradeoff": tradeoff}), "C") for tradeoff in (1.0, 3.0))
    torch.testing.assert_close(three["alignment"], 3 * one["alignment"])
    assert torch.equal(three["classification"], one["classification"])


def test_the_published_recipe_is_the_systems_own() -> None:
    adam, sgd = live(recipe="published"), live(method="dann", recipe="published", lr=0.5)
    assert isinstance(adam.system.optimizers["generator"], torch.optim.Adam)
    assert adam.optimization.lr == 2e-4
    optimizer = sgd.system.optimizers["model"]
    assert isinstance(optimizer, torch.optim.SGD)
    rates = []
    for index in (0, 5):
        list(sgd.step(index))
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.5, 0.5 * 6**-0.75])


def test_the_learning_rate_falls_linearly() -> None:
    task = live(lr=1e-2)
    rates = []
    for index in (0, 5, 9):
        list(task.step(index))
        rates.append(task.system.optimizers["generator"].param_groups[0]["lr"])
    assert rates == pytest.approx([1e-2, 5e-3, 1e-3])


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
    _, classifiers = networks(live()).values()
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
    assert set(metrics) == {"accuracy", "class_accuracy", "source_accuracy", "mmd", "separability"}
    assert task.metric in metrics
    assert all(0 <= metrics[name] <= 100 for name in ("accuracy", "class_accuracy", "source_accuracy"))
    assert metrics["separability"] > 0


def test_the_validation_score_sees_the_source_only(monkeypatch: pytest.MonkeyPatch) -> None:
    task = live()
    seen = []
    monkeypatch.setattr(task, "_predict", lambda split, source: (seen.append((split, source)), split.labels)[1])
    assert task.validation_score() == 100
    assert seen == [(task._domains["source"].validation, True)]


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
            UDA(steps=100, batch_size=32, **options),
            mtlgrad.Sum(),
            seed=0,
            evaluate_every=100,
            diagnose_every=0,
        )
        return dict(history.curve[-1].metrics)

    alone, adapted = final(method="source_only"), final(method="mcd", settings={"generator_steps": 1})
    assert min(alone["source_accuracy"], adapted["source_accuracy"]) > 90
    assert 50 < alone["accuracy"] < 85  # a gap there is
    assert adapted["accuracy"] > alone["accuracy"] + 3


def test_domains_from_folders_train(tmp_path: Path) -> None:
    for name in ("svhn", "mnist"):
        digits_on_disk(tmp_path / name, mode="RGB", side=32, per_class=2, form="saved")
    digits_on_disk(tmp_path / "usps", mode="L", side=16, per_class=2, form="saved")
    for source, target in (("usps", "mnist"), ("svhn", "usps"), ("font", "mnist")):
        task = live(source=source, target=target, batch_size=4, steps=1, data_dir=str(tmp_path))
        advance(task, range(1))
        assert 0 <= task.evaluate()["accuracy"] <= 100


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
        ({"method": "damn"}, ValueError, "method='damn' is unknown; allowed.*'mcd'"),
        ({"method": "source_only", "variant": "released"}, ValueError, "variant='released' is unknown"),
        ({"steps": 0}, ValueError, "steps=0 is out of range; allowed: int >= 1"),
        ({"steps": 1.5}, TypeError, "steps=1.5 is a float"),
        ({"batch_size": True}, TypeError, "batch_size=True is a bool"),
        ({"lr": 0}, ValueError, "lr=0 is out of range; allowed: a finite number > 0"),
        ({"lr": float("nan")}, ValueError, "lr=nan"),
        ({"lr": "1"}, TypeError, "lr='1' is a str"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay=-1.0"),
        ({"settings": {"tradeoff": float("inf")}}, ValueError, r"settings\['tradeoff'\]=inf"),
        ({"settings": {"generator_steps": 0}}, ValueError, r"settings\['generator_steps'\]=0 .* int >= 1"),
        ({"settings": {"hidden": 3}}, ValueError, "'hidden', which method='mcd' has not; allowed.*'generator_steps'"),
        ({"settings": 3}, TypeError, "settings=3 is a int; allowed: a mapping"),
        ({"backbone": "alexnet"}, ValueError, "backbone='alexnet' is unknown; allowed.*'lenet'"),
        ({"recipe": "mine"}, ValueError, "recipe='mine' is unknown; allowed.*'published'"),
        ({"warmup": -1}, ValueError, "warmup=-1 is out of range"),
        ({"warmup": 500}, ValueError, "warmup=500 leaves none of steps=500 to adapt in; allowed: below steps"),
        ({"method": "shot", "steps": 1}, ValueError, "steps=1 with method='shot'.*at least 2, or warmup=0"),
        ({"method": "adda", "steps": 1}, ValueError, "steps=1 with method='adda'"),
        ({"momentum": 0.9}, TypeError, "momentum"),
        ({"source": "usps"}, ValueError, "data_dir=None .*'usps'.*allowed: a folder"),
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
