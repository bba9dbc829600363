"""The task as the training loop sees it."""

from __future__ import annotations

import base64
import copy
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mtlgrad
from mtlgrad.compare.loop import Event, train
from mtlgrad.compare.problem import Phase
from mtlgrad.compare.registry import find_problem, make_problem
from tasks.detection import Detection, data
from tasks.detection import task as module
from tasks.detection.decoding import Found
from tasks.detection.metrics import INTERPOLATIONS, evaluate
from tasks.detection.verdicts import Detections, Truth
from tasks.detection.voc import VocError
from tasks.registry import PROBLEMS
from tests.tasks.detection.test_data import write_devkit

DEVICE = torch.device("cpu")
SMALL: dict[str, Any] = {"steps": 4, "batch_size": 2, "warmup": 0}
COUNTS = (12, 4, 6)


@pytest.fixture(scope="module", autouse=True)
def _few_scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Few images in a folder of their own: what is tested here does not depend on how many there are."""
    folder = str(tmp_path_factory.mktemp("scenes"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load", partial(data.load, counts=COUNTS, cache_dir=folder))
        yield


def ready(**changed: Any) -> Detection:
    task = Detection(**{**SMALL, **changed})
    task.setup(seed=0, device=DEVICE)
    return task


def only_phase(task: Detection, index: int = 0) -> Phase:
    (phase,) = task.step(index)
    return phase


def weights(task: Detection) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in task._model.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_known_by_name() -> None:
    assert find_problem("detection", PROBLEMS) is Detection
    task = make_problem(Detection, {"steps": 7, "model": "dssd321"})
    assert task.total_steps == 7
    assert task.options["model"] == "dssd321"


def test_the_phase_tells_shared_parameters_from_private_ones() -> None:
    task = ready()
    phase = only_phase(task)
    assert (phase.name, list(phase.losses)) == ("dssd", ["localisation", "classification"])
    stepped = {id(p): p for group in phase.optimizers[0].param_groups for p in group["params"]}
    shared = {id(p) for p in phase.shared}
    assert shared < stepped.keys()
    reached = {}
    for name, loss in phase.losses.items():
        gradients = torch.autograd.grad(loss, list(stepped.values()), retain_graph=True, allow_unused=True)
        reached[name] = {key for key, gradient in zip(stepped, gradients, strict=True) if gradient is not None}
    assert reached["localisation"] & reached["classification"] == shared
    assert reached["localisation"] | reached["classification"] == stepped.keys()


def _part(name: str) -> str:
    """Of a parameter: encoder, decoder, or the heads of a stage."""
    whole, inner, *_ = name.split(".")
    return f"{whole}.{inner}" if whole == "heads" else whole


def test_two_stages() -> None:
    task = ready(training="two-stage", steps=8, ssd_share=0.5)
    names = []
    for index in range(8):
        before = weights(task)
        phase = only_phase(task, index)
        names.append(phase.name)
        phase.optimizers[0].zero_grad()
        torch.stack(list(phase.losses.values())).sum().backward()
        phase.optimizers[0].step()
        after = weights(task)
        moved = {_part(name) for name, value in after.items() if not torch.equal(value, before[name])}
        assert moved == ({"encoder", "heads.ssd"} if index < 4 else {"decoder", "heads.dssd"})
        assert task.evaluate().keys() == {"ap", "ap50", "ap60", "ap70", "ap80", "ap90"}  # in either stage
        assert task._model.training
    assert names == ["ssd"] * 4 + ["dssd"] * 4


@pytest.mark.parametrize("changed", [{}, {"training": "two-stage", "ssd_share": 0.5}], ids=["joint", "two-stage"])
@pytest.mark.parametrize("cut", [1, 3])
def test_a_resumed_run_is_the_same_run(changed: dict[str, Any], cut: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"seed": 5, "evaluate_every": 2, "diagnose_every": 1}
    whole, stopped, resumed = (Detection(**SMALL, **changed) for _ in range(3))
    expected = train(whole, mtlgrad.GH(), **options)
    checkpoint = tmp_path / "run.pt"

    def interrupt(event: Event) -> None:
        if event.step == cut and event.evaluation is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stopped, mtlgrad.GH(), checkpoint=checkpoint, on_event=interrupt, **options)
    history = train(resumed, mtlgrad.GH(), checkpoint=checkpoint, **options)
    assert same(weights(resumed), weights(whole))
    assert history.curve == expected.curve
    assert [evaluation.step for evaluation in history.curve] == [2, 4]
    assert history.measured == 4


def test_seeds() -> None:
    one, again, other = (Detection(**{**SMALL, "steps": 2}) for _ in range(3))
    for task, seed in ((one, 1), (again, 1), (other, 2)):
        train(task, mtlgrad.Sum(), seed=seed, evaluate_every=2)
    assert same(weights(one), weights(again))
    assert not same(weights(one), weights(other))


def test_a_seed_decides_weights_batches_and_augmentation_and_no_step_repeats_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = Detection(**SMALL), Detection(**SMALL)
    for seed, task in enumerate((first, second)):
        task.setup(seed=seed, device=DEVICE)
    assert not same(weights(first), weights(second))

    drawn: list[tuple[int, int, list[int]]] = []

    def spy(collection: data.Collection, rows: torch.Tensor, **how: Any) -> data.Batch:
        drawn.append((how["seed"], how["index"], rows.tolist()))
        return data.batch(collection, rows, **how)

    monkeypatch.setattr(module, "batch", spy)
    for task in (first, second):
        for index in range(3):
            only_phase(task, index)
    seeds, indices, rows = zip(*drawn, strict=True)
    assert indices == (0, 1, 2) * 2
    assert len(set(seeds[:3])) == len(set(seeds[3:])) == 1
    assert seeds[0] != seeds[3]
    assert rows[:3] != rows[3:]


def test_learns_a_handful_of_images() -> None:
    task = ready(steps=60, batch_size=12, augmented=False, lr=3e-3)
    task._parts = data.Parts(task._parts.train, task._parts.train, task._parts.train)  # to be learnt by heart
    before = task.evaluate()["ap50"]
    losses = []
    for index in range(task.steps):
        phase = only_phase(task, index)
        phase.optimizers[0].zero_grad()
        total = torch.stack(list(phase.losses.values())).sum()
        total.backward()
        phase.optimizers[0].step()
        losses.append(total.item())
    assert losses[-1] < 0.25 * losses[0]
    assert task.evaluate()["ap50"] > before + 40


def test_perfect_boxes_score_perfectly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions that are the truth reach 100 % at every threshold: pixels and units agree on the whole way."""
    task = ready()
    part = task._parts.test
    seen = iter(range(len(part)))

    def oracle(offsets: torch.Tensor, logits: torch.Tensor, priors: torch.Tensor) -> list[Found]:
        rows = [next(seen) for _ in range(len(offsets))]
        return [
            Found(
                torch.from_numpy(part.boxes(row)),
                torch.ones(len(part.records[row].labels)),
                torch.from_numpy(part.records[row].labels),
            )
            for row in rows
        ]

    monkeypatch.setattr(module, "decode", oracle)
    assert set(task.evaluate().values()) == {100.0}


def test_the_interpolation_asked_for_is_the_one_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each image's objects one is found: a recall between the eleven points, where the two differ."""
    tasks = {name: ready(interpolation=name) for name in INTERPOLATIONS}
    part = tasks["area"]._parts.test
    found = [Detections(one.boxes[:1], np.array([0.9]), one.labels[:1]) for one in part.records]
    truths = [Truth(one.boxes, one.labels, one.difficult) for one in part.records]
    monkeypatch.setattr(Detection, "_find", lambda self, _, rows: ([found[k] for k in rows], [truths[k] for k in rows]))
    values = {name: task.evaluate() for name, task in tasks.items()}
    assert values["area"] != values["voc07"]
    for name, task in tasks.items():
        assert values[name] == evaluate(found, truths, classes=len(part.classes), interpolation=name)
        by_class = next(iter(task.exhibits().values()))["series"]["test"]["y"]
        assert np.mean(by_class) == pytest.approx(values[name]["ap50"])


def test_evaluation_leaves_the_network_alone() -> None:
    task = ready()
    before = weights(task)
    task.evaluate()
    task.validation_score()
    assert same(weights(task), before), "batch norm has not looked at test images"
    assert task._model.training


def test_a_state_is_a_copy() -> None:
    task = ready()
    for index in range(2):
        state = task.state_dict()
        kept = copy.deepcopy(state)
        phase = only_phase(task, index)
        torch.stack(list(phase.losses.values())).sum().backward()
        phase.optimizers[0].step()
        assert same(state["model"], kept["model"])
        moments = [one["optimizer"]["state"] for one in (state, kept)]
        assert all(same(moments[0][k], moments[1][k]) for k in moments[1])
    assert moments[1], "the optimizer has a state by then"


def test_optimizers_are_as_asked_for() -> None:
    adam, sgd = (ready(optimizer=name, weight_decay=0.25)._optimizer for name in ("adam", "sgd"))
    assert isinstance(adam, torch.optim.AdamW)
    assert isinstance(sgd, torch.optim.SGD)
    assert [group["weight_decay"] for one in (adam, sgd) for group in one.param_groups] == [0.25, 0.25]
    assert sgd.param_groups[0]["momentum"] == 0.9


def test_the_data_have_a_seed_of_their_own() -> None:
    one, other = (ready(data_seed=seed)._parts.test for seed in (0, 3))
    assert one.records[0].path != other.records[0].path


def test_validation_does_not_look_at_the_test_part() -> None:
    task = ready()
    score = task.validation_score()
    task._parts = data.Parts(task._parts.train, task._parts.validation, task._parts.train)
    assert task.validation_score() == score


@pytest.mark.parametrize(
    ("changed", "rates"),
    [
        ({"schedule": "linear", "warmup": 0}, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ({"schedule": "linear", "warmup": 2}, [0.5, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        (
            {"schedule": "linear", "warmup": 0, "training": "two-stage", "ssd_share": 0.4},
            [1, 0.75, 0.5, 0.25, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6],
        ),
        ({"schedule": "published", "warmup": 0}, [1, 1, 1, 1, 1, 1, 1, 0.1, 0.1, 0.1]),
        (
            {"schedule": "published", "warmup": 0, "training": "two-stage", "ssd_share": 0.4},
            [1, 1, 0.1, 0.01, 1, 1, 1, 1, 0.1, 0.1],
        ),
    ],
)
def test_learning_rates(changed: dict[str, Any], rates: list[float]) -> None:
    task = ready(steps=10, lr=0.5, **changed)
    seen = []
    for index in range(10):
        phase = only_phase(task, index)
        seen.append(phase.optimizers[0].param_groups[0]["lr"] / 0.5)
    assert seen == pytest.approx(rates)


def test_exhibits_are_precision_by_class_and_pictures_of_the_test_part() -> None:
    task = ready()
    by_class, shown = task.exhibits().values()
    (series,) = by_class["series"].values()
    sought = {label for truth in task._find_all(task._parts.test)[1] for label in truth.labels[~truth.difficult]}
    assert (by_class["kind"], series["x"]) == ("lines", [task._parts.test.classes[label] for label in sorted(sought)])
    assert np.mean(series["y"]) == pytest.approx(task.evaluate()["ap50"])
    assert shown["kind"] == "images"
    assert len(shown["images"]) == 4
    for image in shown["images"]:
        with Image.open(io.BytesIO(base64.b64decode(image["png"]))) as opened:
            assert max(opened.size) == 256
        assert "objects found" in image["caption"]
    again = task.exhibits()
    assert list(again.values()) == [by_class, shown]


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        ({"model": "dssd513"}, ValueError, "model='dssd513' is unknown; allowed: .*'dssd321', 'dssd-small'"),
        ({"fusion": "max"}, ValueError, r"fusion='max' is unknown; allowed: \(None, 'product', 'sum'\)"),
        ({"training": "both"}, ValueError, "training='both'"),
        ({"training": "two-stage", "steps": 1}, ValueError, "steps=1 is out of range; allowed: int >= 2"),
        ({"ssd_share": 0}, ValueError, "ssd_share=0"),
        ({"ssd_share": 1.5}, ValueError, "ssd_share=1.5"),
        ({"weights": 3}, TypeError, "weights=3 is a int; allowed: text, or none"),
        ({"data_dir": 3}, TypeError, "data_dir=3 is a int"),
        ({"batch_size": 0}, ValueError, "batch_size=0 is out of range; allowed: int >= 1"),
        ({"lr": float("nan")}, ValueError, "lr=nan"),
        ({"augmented": 1}, TypeError, "augmented=1 is a int; allowed: true or false"),
        ({"interpolation": "coco"}, ValueError, "interpolation='coco' is unknown"),
        ({"schedule": "cosine"}, ValueError, "schedule='cosine'"),
        ({"optimizer": "lion"}, ValueError, "optimizer='lion'"),
        ({"steps": 2.0}, TypeError, "steps=2.0 is a float"),
        ({"negatives": 1}, TypeError, "negatives=1 is a int; allowed: true or false"),
        ({"first_pixel": 2}, ValueError, "first_pixel=2 is out of range; allowed: int >= 0 and <= 1"),
        ({"negatives": True}, ValueError, "negatives=True has no effect without data_dir; allowed: False"),
        ({"first_pixel": 0}, ValueError, "first_pixel=0 has no effect without data_dir; allowed: 1"),
        ({"skip_broken": True}, ValueError, "skip_broken=True has no effect without data_dir; allowed: False"),
    ],
)
def test_bad_options(changed: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Detection(**changed)


def test_images_in_error_stop_a_run_or_are_left_out_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load", data.load)
    for year, split in (("VOC2007", "trainval"), ("VOC2012", "trainval"), ("VOC2007", "test")):
        write_devkit(tmp_path, year, split, 20)
    (tmp_path / "VOC2007" / "Annotations" / "test_3.xml").unlink()
    (tmp_path / "VOC2012" / "JPEGImages" / "2012_trainval_7.jpg").write_bytes(b"nothing")
    with pytest.raises(VocError, match=r"2012_trainval_7\.jpg"):
        ready(data_dir=str(tmp_path))
    with pytest.warns(UserWarning, match=r"2 images are left out; the first: .*2012_trainval_7\.jpg"):
        task = ready(data_dir=str(tmp_path), skip_broken=True)
    assert list(only_phase(task).losses) == ["localisation", "classification"]
    assert len(task._parts.test) == 19


def test_images_without_objects_are_trained_on_and_judged_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load", data.load)
    for year, split in (("VOC2007", "trainval"), ("VOC2012", "trainval"), ("VOC2007", "test")):
        write_devkit(tmp_path, year, split, 4)
    for path in sorted((tmp_path / "VOC2007" / "Annotations").iterdir())[1:]:  # the first, of the test set, stays
        text = path.read_text()
        path.write_text(text[: text.index("<object>")] + "</annotation>")
    with pytest.raises(VocError, match="no object"):
        ready(data_dir=str(tmp_path))
    task = ready(data_dir=str(tmp_path), negatives=True, augmented=True, batch_size=6)
    for index in range(2):
        phase = only_phase(task, index)
        assert all(loss.isfinite() for loss in phase.losses.values())
        sum(phase.losses.values()).backward()  # type: ignore[union-attr]
    assert [len(record.boxes) > 0 for record in task._parts.test.records] == [True, False, False, False]
    assert set(task.evaluate()) >= {"ap", "ap50"}
    assert len(task.exhibits()) == 2


def test_a_batch_larger_than_the_training_part() -> None:
    with pytest.raises(ValueError, match="batch_size=13 .* up to 12"):
        only_phase(ready(batch_size=13))
