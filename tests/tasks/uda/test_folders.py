"""Classes that a part lacks: digits from a folder must be all ten, and of photographs a test part may lack some."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as PillowImage

from mtlgrad.compare.schema import Run
from tasks.uda.analyses.table import ANALYSES
from tasks.uda.data import PROTOCOLS, folders, load_domain
from tasks.uda.data.real import _load
from tasks.uda.task import UDA, _grid
from tests.tasks.uda.test_trees import domainnet, picture

CPU = torch.device("cpu")
EVERY = dict.fromkeys(range(10), 4)


def saved(folder: Path, train: dict[int, int], test: dict[int, int] | None = None) -> None:
    """As many images of each digit as is said; those of a digit d are the constant 20 d, with the row in a corner."""
    features = Features({"image": Image(), "label": ClassLabel(names=[str(digit) for digit in range(10)])})
    parts = {}
    for part, counts in (("train", train), ("test", EVERY if test is None else test)):
        labels = [digit for digit, count in counts.items() for _ in range(count)]
        images = []
        for row, digit in enumerate(labels):
            pixels = np.full((28, 28), 20 * digit, dtype=np.uint8)
            pixels[0, 0], pixels[0, 1] = row // 256, row % 256
            images.append(PillowImage.fromarray(pixels))
        parts[part] = Dataset.from_dict({"image": images, "label": labels}, features=features)
    DatasetDict(parts).save_to_disk(str(folder))


def usps(folder: Path, protocol: str = "held-out") -> Any:
    return load_domain("usps", channels=1, size=28, data_dir=str(folder), protocol=protocol)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_part_without_a_digit_is_named(tmp_path: Path, part: str, protocol: str) -> None:
    some = {digit: 4 for digit in range(10) if digit not in (3, 9)}
    saved(tmp_path / "usps", **{"train": EVERY, part: some})
    with pytest.raises(ValueError, match=rf"{part} of {tmp_path}/usps has no image of \[3, 9\]; expected: a data set"):
        usps(tmp_path, protocol)


def test_a_tree_of_images_without_a_digit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for split in ("train", "test"):
        for digit in range(9):
            for row in range(3):
                picture(tmp_path / "usps" / split / str(digit) / f"{row}.png")
    with pytest.raises(ValueError, match=r"train of .*usps has no image of \[9\]; expected"):
        usps(tmp_path)


def test_a_digit_with_one_image_cannot_be_split(tmp_path: Path) -> None:
    saved(tmp_path / "usps", {**EVERY, 3: 1, 7: 1})
    message = rf"train of {tmp_path}/usps has 1 image of 3: .*at least 2 of each digit.*'full'.*expected: a data set"
    with pytest.raises(ValueError, match=message):
        usps(tmp_path)
    assert len(usps(tmp_path, "full").train) == 34


@pytest.mark.parametrize("rare", [2, 3])
def test_a_rare_digit_is_in_every_part_or_is_named(tmp_path: Path, rare: int) -> None:
    saved(tmp_path / "usps", {digit: rare if digit == 4 else 30 for digit in range(10)})
    with pytest.raises(
        ValueError, match=rf"train of {tmp_path}/usps has {rare} images of 4: none came into the validation part"
    ):
        usps(tmp_path)


def test_a_sample_without_a_digit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "usps", {digit: 1 if digit == 4 else 40 for digit in range(10)})
    monkeypatch.setattr(folders, "SAMPLED", {"usps": 100})
    with pytest.raises(ValueError, match=rf"train of {tmp_path}/usps has 1 image of 4: none came into the .* part"):
        usps(tmp_path, "sampled")


def test_no_label_decides_what_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "SAMPLED", {"usps": 150})
    for name, order in (("a", range(10)), ("b", [*range(5, 10), *range(5)])):
        saved(tmp_path / name / "usps", dict.fromkeys(order, 30))
    rows = {}
    for name in ("a", "b"):
        domain = usps(tmp_path / name, "sampled")
        assert (len(domain.train), len(domain.validation), len(domain.test)) == (150, 150, 40)
        numbers = [
            [256 * int(one[0, 0, 0]) + int(one[0, 0, 1]) for one in part.images]
            for part in (domain.train, domain.validation)
        ]
        assert sorted(numbers[0] + numbers[1]) == list(range(300))
        assert len(torch.bincount(domain.train.labels).unique()) > 1  # not as many of each digit
        assert len(domain.validation.labels[:50].unique()) == 10  # not in the order of the file
        rows[name] = numbers
    assert rows["a"] == rows["b"]


def test_a_sample_larger_than_the_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "usps", EVERY)
    monkeypatch.setattr(folders, "SAMPLED", {"usps": 35})
    with pytest.raises(ValueError, match=r"usps in .* has 40 images to train on; protocol='sampled' takes 35"):
        usps(tmp_path, "sampled")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "dataset_dict.json").write_text("{"),
        lambda folder: next((folder / "train").glob("*.arrow")).write_bytes(b"x"),
        lambda folder: (shutil.rmtree(folder), folder.mkdir()),
    ],
)
def test_a_folder_that_is_no_data_set_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], object]
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    saved(tmp_path / "usps", EVERY)
    spoil(tmp_path / "usps")
    with pytest.raises(ValueError, match=rf"{tmp_path}/usps cannot be read as a data set \(.*\); expected: a data set"):
        usps(tmp_path)


def test_exhibits_survive_a_class_that_no_test_image_has(tmp_path: Path) -> None:
    _load.cache_clear()
    train = [f"{kind}/{number}.png {label}" for kind, label in (("bike", 0), ("mug", 1)) for number in (0, 1)]
    for domain in ("real", "sketch"):
        for number in range(3):
            picture(tmp_path / "domainnet" / domain / "pen" / f"{number}.png")
        domainnet(tmp_path, domain, [*train, "pen/0.png 2", "pen/1.png 2"], ["mug/2.png 1", "pen/2.png 2"])
    task = UDA(
        source="domainnet/real",
        target="domainnet/sketch",
        method="source_only",
        data_dir=str(tmp_path),
        batch_size=2,
        backbone="efficientnet_lite0",
    )
    task.setup(seed=0, device=CPU)
    shown = task.exhibits()
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    for series in shown["accuracy per class"]["series"].values():
        assert series["x"] == ["bike", "mug", "pen"]
        assert series["y"][0] is None
        assert all(0 <= value <= 100 for value in series["y"][1:])


def test_a_picture_of_a_training_part_that_lacks_a_class() -> None:
    task = UDA(steps=1, batch_size=16)
    task.setup(seed=0, device=CPU)
    whole = task._drawn["source"].train
    some = replace(task._drawn["source"], train=whole.part((whole.labels != 3).nonzero().flatten()))
    picture = PillowImage.open(io.BytesIO(base64.b64decode(_grid(some))))
    assert picture.size == (9 * 16, 4 * 16)


def test_a_class_that_the_target_lacks_is_no_failure() -> None:
    def run(values: list[list[int]]) -> Any:
        exhibits = {"confusion": {"kind": "data", "classes": ["a", "b", "c"], "values": values}}
        return Run.model_construct(status="ok", label="sum", seed=0, exhibits=exhibits)

    data = ANALYSES["confusion"].data([run([[3, 1, 0], [0, 0, 0], [0, 0, 2]]), run([[2, 2, 0], [0, 0, 0], [1, 0, 1]])])
    assert data is not None
    percent = data["methods"]["sum"]["percent"]
    assert percent == [[62.5, 37.5, 0.0], [None, None, None], [25.0, 0.0, 75.0]]
    figure = ANALYSES["confusion"].draw(json.loads(json.dumps(data, allow_nan=False)))
    assert figure.axes[0].get_title() == "sum: 68.8 %, mean of classes"
