"""Parts of domains and batches of them: photographs stay on disk, memory has bounds, and what is too small is named."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.uda.data import Batches, Photos, Split, photos, together
from tasks.uda.data.domain import hold_out
from tasks.uda.data.photos import SIDE, STORED
from tasks.uda.data.real import _load
from tasks.uda.task import UDA
from tests.tasks.uda.test_data import digits_on_disk

CPU = torch.device("cpu")


def ramps(folder: Path, count: int) -> list[Path]:
    """Photographs that grow from left to right: the first pixel of a crop says where it was taken, mirrored or not."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.stack([np.broadcast_to(np.arange(STORED, dtype=np.uint8), (STORED, STORED))] * 3, axis=2)
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(pixels).save(path)
    return paths


def office(root: Path, count: int = 4) -> None:
    for domain in ("amazon", "webcam"):
        for kind in ("bike", "mug"):
            ramps(root / "office31" / domain / "images" / kind, count)


def adapting(folder: Path, method: str) -> UDA:
    """From one domain of what `office` wrote to the other, ready to train."""
    task = UDA(
        source="office31/amazon",
        target="office31/webcam",
        method=method,
        data_dir=str(folder),
        batch_size=2,
        backbone="efficientnet_lite0",
    )
    task.setup(seed=0, device=CPU)
    return task


def test_every_selection_of_photographs_is_of_photographs(tmp_path: Path) -> None:
    paths, labels = ramps(tmp_path, 8), torch.arange(8) % 2
    split = Split(Photos(paths), labels)
    parts = [split.first(3), *split.apart(0.25, seed=0), *hold_out(split.images, labels, count=2)]
    assert [len(part) for part in parts] == [3, 6, 2, 6, 2]
    for part in parts:
        assert isinstance(part.images, Photos)
        assert [int(path.stem) % 2 for path in part.images.paths] == part.labels.tolist()
    assert split.first(3).images.paths == tuple(paths[:3])  # type: ignore[union-attr]


@pytest.mark.parametrize("method", ["dann", "pareto_da"])
def test_every_system_trains_on_random_crops_of_photographs(tmp_path: Path, method: str) -> None:
    _load.cache_clear()
    office(tmp_path)
    task = adapting(tmp_path, method)
    assert set(task._batches) == {"source", "target"} | ({"held-out"} if method == "pareto_da" else set())
    for role, batches in task._batches.items():
        drawn = torch.cat([batches.draw()[0] for _ in range(8)])
        starts = ((drawn[:, 0, 0, 0] + 1) * 127.5).round()
        assert len(starts.unique()) > 8, f"the {role} images are always cut alike"


def test_what_is_held_out_is_enough_for_batch_norm() -> None:
    split = Split(torch.zeros(8, 1, 2, 2, dtype=torch.uint8), torch.arange(8))
    kept, held = split.apart(0.1, seed=0)
    assert (len(kept), len(held)) == (6, 2)


@pytest.mark.parametrize(
    ("options", "limit", "whose"),
    [
        ({"method": "pareto_da"}, 970, "optical.*the target"),
        ({"method": "dann"}, 1078, "optical.*the target"),
        ({"method": "pareto_da", "source": "optical", "target": "font"}, 1078, "optical.*the source"),
        ({"method": "pareto_da", "source": "font", "target": "mnist"}, 1800, "mnist.*the target"),
    ],
)
def test_a_batch_is_as_large_as_what_is_trained_on_at_most(options: dict, limit: int, whose: str) -> None:
    with pytest.raises(ValueError, match=f"batch_size={limit + 1} is out of range; .*<= {limit}.*{whose}"):
        UDA(batch_size=limit + 1, **options)
    task = UDA(batch_size=limit, **options)
    task.setup(seed=0, device=CPU)
    assert len(task._batches["target"].draw()[0]) == limit


@pytest.mark.parametrize(("source", "role"), [("usps", "source"), ("mnist", "target")])
def test_a_batch_that_data_from_a_folder_cannot_fill_says_which_domain_is_too_small(
    tmp_path: Path, source: str, role: str
) -> None:
    for name, per_class in (("usps", 4), ("mnist", 10)):
        digits_on_disk(tmp_path / name, mode="L", side=16, per_class=per_class, form="saved")
    target = "mnist" if source == "usps" else "usps"
    task = UDA(source=source, target=target, data_dir=str(tmp_path), batch_size=31, method="dann")
    with pytest.raises(ValueError, match=f"batch_size=31 .*usps, the {role}.*up to 30"):
        task.setup(seed=0, device=CPU)


def test_batches_of_no_named_part() -> None:
    split = Split(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.arange(3))
    with pytest.raises(ValueError, match="batch_size=4 is more than the split holds; allowed: up to 3"):
        Batches(split, batch_size=4, seed=0)


def test_all_collections_of_the_process_share_one_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    read: list[Path] = []
    decode = photos.read_image
    monkeypatch.setattr(photos, "read_image", lambda path, **options: (read.append(path), decode(path, **options))[1])
    before = photos.kept_bytes()
    monkeypatch.setattr(photos, "CACHE_BYTES", before + 3 * 3 * STORED**2)
    first, second = (Photos(ramps(tmp_path / name, 2)) for name in ("a", "b"))
    for _ in range(2):
        first[:], second[:]
    assert photos.kept_bytes() - before == 3 * 3 * STORED**2
    assert len(read) == 2 + 2 + 1  # the fourth one is decoded again
    first.part(torch.tensor([0]))[:]
    assert len(read) == 5  # a part has what the whole keeps
    del first
    gc.collect()
    second[:], second[:]
    assert len(read) == 6  # what the first one kept has made room
    assert photos.kept_bytes() - before == 2 * 3 * STORED**2


def test_few_photographs_go_through_a_network_at_once_and_many_small_images() -> None:
    for side in (16, 28, 32):
        assert together(torch.empty(0, 1, side, side)) == 1000
    assert 365 <= together(torch.empty(0, 3, 96, 96)) <= 1000  # of a style, all there are
    assert 16 <= together(Photos([])) <= 100
    assert together(torch.empty(0, 3, SIDE, SIDE)) == together(Photos([]))
    assert together(torch.empty(0, 3, 10**4, 10**4)) == 1


@pytest.mark.parametrize("method", ["source_only", "shot"])
def test_the_network_is_asked_of_as_many_photographs_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    _load.cache_clear()
    office(tmp_path, count=3)
    monkeypatch.setattr("tasks.uda.data.batches._PIXELS_TOGETHER", 4 * SIDE**2)
    task = adapting(tmp_path, method)
    seen: list[int] = []
    monkeypatch.setattr(
        task.system,
        "features",
        lambda images, source=False: (seen.append(len(images)), images.mean(dim=(2, 3)))[1],
    )
    monkeypatch.setattr(
        task.system,
        "probabilities",
        lambda images, source=False: (seen.append(len(images)), torch.full((len(images), 2), 0.5))[1],
    )
    task.evaluate()
    task.system.whole_target()
    assert set(seen) == {4, 2}
