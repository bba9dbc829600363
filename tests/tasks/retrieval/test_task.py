"""The task as the training loop sees it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mtlgrad
from mtlgrad.compare.loop import Event, train
from mtlgrad.compare.problem import Phase
from tasks.retrieval import Retrieval
from tasks.retrieval.data import COUNTS, Encoded, load
from tasks.retrieval.exhibits import SHOWN
from tasks.retrieval.metrics import ranks

DEVICE = torch.device("cpu")
SMALL: dict[str, Any] = {"steps": 6, "batch_size": 8, "image_size": 16}


@pytest.fixture(scope="module", autouse=True)
def _few_images() -> Iterator[None]:
    """Fewer images than the default's: what is tested here does not depend on how many there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(COUNTS, "default", {"train": (120, 300), "test": (60, 40)})
        load.cache_clear()
        yield
    load.cache_clear()


def ready(**changed: Any) -> Retrieval:
    task = Retrieval(**{**SMALL, **changed})
    task.setup(seed=0, device=DEVICE)
    return task


def only_phase(task: Retrieval, index: int = 0) -> Phase:
    (phase,) = task.step(index)
    return phase


def weights(task: Retrieval) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in task._model.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"method": "tirg"}, ["clean"]),
        ({"method": "at-tirg"}, ["adversarial", "clean"]),
        ({"method": "at-tirg", "variant": "released"}, ["clean", "noisy"]),
    ],
)
@pytest.mark.parametrize("loss", ["softmax", "triplet"])
def test_phases(changed: dict[str, str], names: list[str], loss: str) -> None:
    task = ready(loss=loss, **changed)
    phase = only_phase(task)
    assert list(phase.losses) == names
    everything = list(task._model.parameters())
    assert [id(p) for group in phase.optimizers[0].param_groups for p in group["params"]] == [id(p) for p in everything]
    if len(names) > 1:
        assert [id(p) for p in phase.shared] == [id(p) for p in everything]
        for value in phase.losses.values():  # every parameter is shared in truth: each loss reaches it
            gradients = torch.autograd.grad(value, everything, retain_graph=True)
            assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_attacked_queries_lose_more_than_clean_ones() -> None:
    phase = only_phase(ready(epsilon=16 / 255))
    assert float(phase.losses["adversarial"].detach()) > float(phase.losses["clean"].detach())


def test_without_room_the_attack_is_the_clean_query() -> None:
    phase = only_phase(ready(epsilon=0))
    torch.testing.assert_close(phase.losses["adversarial"], phase.losses["clean"])
    task = ready(epsilon=0)
    metrics = task.evaluate()
    assert metrics["adversarial_r1"] == metrics["clean_r1"]


@pytest.mark.parametrize(
    "changed",
    [{}, {"variant": "released", "form": "lastconv", "optimizer": "sgd"}, {"loss": "triplet", "method": "tirg"}],
    ids=["attacked", "released", "clean"],
)
def test_a_resumed_run_is_the_same_run(changed: dict[str, str], tmp_path: Path) -> None:
    options: dict[str, Any] = {"seed": 5, "evaluate_every": 3, "diagnose_every": 2}
    whole, cut, resumed = (Retrieval(**SMALL, **changed) for _ in range(3))
    expected = train(whole, mtlgrad.GH(), **options)
    checkpoint = tmp_path / "run.pt"

    def interrupt(event: Event) -> None:
        if event.step == 4 and event.evaluation is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(cut, mtlgrad.GH(), checkpoint=checkpoint, on_event=interrupt, **options)
    history = train(resumed, mtlgrad.GH(), checkpoint=checkpoint, **options)
    assert same(weights(resumed), weights(whole))
    assert history.curve == expected.curve
    assert len(history.curve) == 2


def test_seeds() -> None:
    options: dict[str, Any] = {"evaluate_every": 2, "steps": 2}
    one, again, other = (Retrieval(**{**SMALL, "steps": 2}) for _ in range(3))
    train(one, mtlgrad.Sum(), seed=1, **options)
    train(again, mtlgrad.Sum(), seed=1, **options)
    train(other, mtlgrad.Sum(), seed=2, **options)
    assert same(weights(one), weights(again))
    assert not same(weights(one), weights(other))


def test_looking_changes_nothing() -> None:
    task = ready()
    before, state = weights(task), torch.get_rng_state()
    modes = [part.training for part in task._model.modules()]
    task.evaluate()
    task.validation_score()
    task.exhibits()
    assert same(weights(task), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in task._model.modules()] == modes


def test_metrics_are_those_of_the_test_part() -> None:
    task = ready()
    found = task.evaluate()
    assert sorted(found) == sorted(f"{kind}_r{n}" for kind in ("clean", "adversarial") for n in (1, 5, 10, 50, 100))
    assert task.metric in found
    assert all(0 <= share <= 100 for share in found.values())
    part = task._test
    with torch.no_grad():
        task._model.eval()
        gallery = task._model.features(part.pixels(torch.arange(len(part.images))))
        text = task._model.text(part.tokens, part.lengths)
        queries = task._model.compose(part.pixels(part.sources), text)
    expected = ranks(queries, gallery, wanted=part.wanted, scenes=part.scenes, sources=part.sources)
    assert found["clean_r1"] == pytest.approx(100 * (expected == 1).double().mean().item(), abs=0.2)


@pytest.mark.parametrize("selection", ["clean", "both"])
def test_selection_never_looks_at_the_test_part(selection: str) -> None:
    task = ready(selection=selection)
    expected = task.validation_score()
    del task._test  # gone, and not missed
    assert task.validation_score() == expected
    attacked = task._recalls(task._validation, ("adversarial",))["adversarial_r1"]
    clean = task._recalls(task._validation, ("clean",))["clean_r1"]
    assert expected == pytest.approx(clean if selection == "clean" else (clean + attacked) / 2)


def test_training_and_validation_know_no_test_pair() -> None:
    parts = ready()._parts
    for training in (parts.train, parts.validation):
        # pictures tell pairs apart, so that a shared picture would be a shared pair (the empty scene has none)
        assert not {image.numpy().tobytes() for image in training.images if int(image.min()) < 255} & {
            image.numpy().tobytes() for image in parts.test.images
        }


def test_it_learns_and_can_be_attacked() -> None:
    untrained = ready(method="tirg").evaluate()
    task = Retrieval(method="tirg", steps=40, batch_size=32, image_size=16, epsilon=16 / 255)
    history = train(task, mtlgrad.Sum(), seed=0, evaluate_every=40)
    trained = history.curve[-1].metrics
    assert trained["clean_r10"] > 2 * untrained["clean_r10"]
    assert trained["adversarial_r1"] < trained["clean_r1"] / 2


@pytest.mark.parametrize("method", [mtlgrad.GHPlusPlus(), mtlgrad.PCGrad(), mtlgrad.CAGrad(), mtlgrad.GradDrop()])
def test_methods_of_every_kind_train_it(method: mtlgrad.Method) -> None:
    history = train(Retrieval(**{**SMALL, "steps": 2}), method, seed=0, evaluate_every=2, diagnose_every=1)
    assert history.status == "ok"
    assert history.decisions["pair"].tasks == ["adversarial", "clean"]
    assert history.decisions["pair"].measured == 2


def test_exhibits_are_pictures_of_queries() -> None:
    shown = ready().exhibits()
    assert sorted(title.split()[0] for title in shown) == ["“add", "“make", "“remove"]
    for exhibit in shown.values():
        assert exhibit["kind"] == "images"
        (one,) = exhibit["images"]
        picture = Image.open(io.BytesIO(base64.b64decode(one["png"])))
        height, width = np.asarray(picture).shape[:2]
        assert 2 * width == (SHOWN + 2) * height  # two rows: source, found, target
        assert re.fullmatch(r"rank of the target: \d+ clean, \d+ attacked", one["caption"])


def test_options_echo() -> None:
    task = Retrieval(epsilon=0.1, form="lastconv")
    assert task.options["epsilon"] == 0.1
    assert Retrieval(**task.options).options == task.options
    assert task.total_steps == task.steps


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        ({"method": "at"}, ValueError, r"method='at' .*'tirg', 'at-tirg'"),
        ({"method": "tirg", "variant": "released"}, ValueError, r"variant='released' .*\('principled',\)"),
        ({"form": "conv"}, ValueError, "form='conv' .*lastconv"),
        ({"loss": "hinge"}, ValueError, "loss='hinge' .*triplet"),
        ({"optimizer": "lion"}, ValueError, "optimizer='lion' .*sgd"),
        ({"selection": "test"}, ValueError, "selection='test' .*both"),
        ({"view": "4d"}, ValueError, "view='4d' .*3d"),
        ({"steps": 0}, ValueError, "steps=0 .*>= 1"),
        ({"steps": 1.5}, TypeError, "steps=1.5 is a float"),
        ({"batch_size": 2}, ValueError, "batch_size=2 .*>= 3"),
        ({"train_attack_steps": 0}, ValueError, "train_attack_steps=0"),
        ({"image_size": 8}, ValueError, "image_size=8 .*>= 16"),
        ({"epsilon": 2}, ValueError, "epsilon=2 .*<= 1"),
        ({"epsilon": "big"}, TypeError, "epsilon='big' is a str"),
        ({"lr": 0}, ValueError, "lr=0 .*> 0"),
        ({"lr": float("nan")}, ValueError, "lr=nan"),
        ({"full": 1}, TypeError, "full=1 is a int"),
        ({"weights": 3}, TypeError, "weights=3 is a int; allowed: text, or none"),
        ({"data_dir": 5}, TypeError, "data_dir=5 is a int; allowed: text, or none"),
        ({"view": "3d"}, ValueError, "view='3d' has no effect without data_dir; allowed: '2d'"),
        ({"full": True, "data_dir": "css"}, ValueError, "full=True has no effect with data_dir; allowed: false"),
        ({"batch_size": 10**6}, ValueError, "batch_size=1000000 is out of range; allowed: int >= 3 and <= 900"),
        ({"batch_size": 10**6, "full": True}, ValueError, "allowed: int >= 3 and <= 18012"),
    ],
)
def test_bad_options(changed: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Retrieval(**changed)


def test_a_batch_larger_than_the_training_part() -> None:
    task = ready(batch_size=900)  # all queries, of which some are held out
    with pytest.raises(ValueError, match="batch_size=900 is more than there are to draw from"):
        only_phase(task)


def test_encoded_part_is_consistent() -> None:
    task = ready()
    part = task._test
    assert isinstance(part, Encoded)
    assert bool((part.wanted == part.scenes[part.targets]).all())
    pixels = part.pixels(torch.arange(3))
    assert pixels.dtype == torch.float32
    assert 0 <= float(pixels.min()) <= float(pixels.max()) == 1
