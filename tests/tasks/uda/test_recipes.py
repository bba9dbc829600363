"""Recipes with fields changed, what a run is judged by, and what it tells of its data."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import mtlgrad
from mtlgrad.compare.loop import train
from tasks.uda.backbones.base import Discriminator
from tasks.uda.data import Split
from tasks.uda.task import UDA
from tests.tasks.uda.test_task import live


def rates(task: UDA, indices: list[int], optimizer: str = "model") -> list[float]:
    """The learning rates of these training steps, as a system sets them."""
    found = []
    for index in indices:
        list(task.step(index))
        found.append(task.system.optimizers[optimizer].param_groups[0]["lr"])
    return found


def test_a_horizon_makes_schedule_and_ramp_independent_of_the_runs_length() -> None:
    options: dict[str, Any] = {"method": "cdan_e", "recipe": "published", "recipe_changes": {"horizon": 100}}
    short, long = live(steps=10, **options), live(steps=1000, **options)
    assert rates(short, [0, 9]) == rates(long, [0, 9]) == pytest.approx([0.01, 0.01 * 1.9**-0.75])
    assert short.system.progress(9) == long.system.progress(9) == 0.09
    assert long.system.progress(500) == 5.0  # the run outlasts it
    assert live(steps=10, method="cdan_e", recipe="published").system.progress(9) == 0.9


def test_a_linear_rate_stays_at_0_past_its_horizon() -> None:
    assert rates(live(method="dann", recipe_changes={"horizon": 4}), [0, 2, 4, 9]) == pytest.approx([1e-3, 5e-4, 0, 0])


def test_a_decay_multiplies_the_rate_each_so_many_steps() -> None:
    changes = {"schedule": "constant", "decay": 0.5, "decay_every": 3}
    task = live(method="cdan_e", recipe="published", recipe_changes=changes)
    assert rates(task, [0, 2, 3, 5, 6]) == pytest.approx([0.01, 0.01, 0.005, 0.005, 0.0025])


def test_changes_reach_the_optimizer_and_leave_the_rest_of_the_recipe() -> None:
    changes = {"optimizer": "sgd", "momentum": 0.9, "nesterov": True}
    task = live(recipe="published", recipe_changes=changes, lr=1e-3)
    assert (task.optimization.schedule, task.optimization.weight_decay) == ("constant", 5e-4)
    for optimizer in task.system.optimizers.values():
        assert isinstance(optimizer, torch.optim.SGD)
        (group, *_) = optimizer.param_groups
        assert (group["lr"], group["momentum"], group["nesterov"]) == (1e-3, 0.9, True)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (3, TypeError, "recipe_changes=3 is a int; allowed: a mapping"),
        ({"lr": 0.1}, ValueError, "recipe_changes has 'lr'; allowed: .*'decay'.*'trunk'"),
        ({"optimizer": "rmsprop"}, ValueError, r"recipe_changes\['optimizer'\]='rmsprop' is unknown; allowed: .*'sgd'"),
        ({"schedule": "cosine"}, ValueError, r"recipe_changes\['schedule'\]='cosine' is unknown; allowed: .*'inverse'"),
        ({"horizon": 0}, ValueError, r"recipe_changes\['horizon'\]=0 is out of range; allowed: int >= 1"),
        ({"momentum": 1.5}, ValueError, r"recipe_changes\['momentum'\]=1.5 is out of range"),
        ({"trunk": -1}, ValueError, r"recipe_changes\['trunk'\]=-1 is out of range"),
        ({"decay": 0, "decay_every": 5}, ValueError, r"recipe_changes\['decay'\]=0 is out of range"),
        ({"decay_every": 1.5}, TypeError, r"recipe_changes\['decay_every'\]=1.5 is a float"),
        ({"nesterov": 1}, TypeError, r"recipe_changes\['nesterov'\]=1 is a int; allowed: true or false"),
        ({"nesterov": True}, ValueError, "nesterov=True with momentum=0; allowed: a momentum > 0"),
        ({"decay": 0.5}, ValueError, "decay=0.5 with decay_every=None; allowed: both of them, or none"),
        ({"decay_every": 5}, ValueError, "decay=1.0 with decay_every=5; allowed: both of them, or none"),
    ],
)
def test_a_change_that_cannot_be_is_named(changes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        UDA(recipe_changes=changes)


def test_every_class_counts_alike_in_the_mean_over_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine zeros and one three: a network that always says 0 is right on 90 % of the images and on half the classes."""
    task = live()
    images = task._domains["target"].test.images[:10]
    domain = task._domains["target"]
    uneven = Split(images, torch.tensor([0] * 9 + [3]))
    task._domains["target"] = type(domain)(domain.name, domain.train, domain.validation, uneven)
    predict = task._predict
    monkeypatch.setattr(
        task,
        "_predict",
        lambda split, **more: torch.zeros(10, dtype=torch.int64) if split is uneven else predict(split, **more),
    )
    found = task.evaluate()
    assert (found["accuracy"], found["class_accuracy"]) == (90.0, 50.0)


@pytest.mark.parametrize("metric", ["accuracy", "class_accuracy"])
def test_a_run_is_judged_by_the_metric_that_is_asked_for(metric: str) -> None:
    history = train(UDA(steps=1, batch_size=16, metric=metric), mtlgrad.Sum(), seed=0, evaluate_every=1)
    assert history.metric == metric
    assert metric in history.curve[-1].metrics
    with pytest.raises(ValueError, match=r"metric='f1' is unknown; allowed: \('accuracy', 'class_accuracy'\)"):
        UDA(metric="f1")


def test_a_run_tells_how_many_classes_and_images_its_data_has() -> None:
    assert live().exhibits()["sizes"] == {
        "kind": "data",
        "classes": 10,
        "images": {"font": {"train": 6000, "test": 2000}, "optical": {"train": 1078, "test": 539}},
    }


def test_a_conditional_adversary_has_dropout_only_where_it_is_asked_for() -> None:
    def drops(**settings: float) -> list[float]:
        task = live(method="cdan_e", settings=settings)
        return [part.p for part in task.system.networks["discriminator"].modules() if isinstance(part, nn.Dropout)]

    assert drops() == []
    assert drops(dropout=0.5) == [0.5, 0.5]
    with pytest.raises(ValueError, match="dropout=1.5 is out of range; allowed: a finite number >= 0 and <= 1"):
        Discriminator(4, 8, dropout=1.5)
