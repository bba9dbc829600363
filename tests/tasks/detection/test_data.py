"""Collections and the batches drawn from them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.detection import data
from tasks.detection.augment import AugmentSettings, resize
from tasks.detection.data import Batch, Collection, Parts, batch, evaluation_images, load
from tasks.detection.glyphs import CLASSES
from tasks.detection.voc import VOC_CLASSES, Annotated, VocError, read_image, read_voc, write_voc


@pytest.fixture(name="parts", scope="module")
def _parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return load(cache_dir=str(tmp_path_factory.mktemp("cache")), counts=(12, 3, 5))


def test_shapes_voc_by_default(parts: Parts) -> None:
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [12, 3, 5]
    for part, name in ((parts.train, "train"), (parts.validation, "val"), (parts.test, "test")):
        assert part.classes == CLASSES
        assert len(part.skipped) == 0
        assert all(record.name.startswith(name) for record in part.records)


def equal(first: Batch, second: Batch) -> bool:
    pairs = [(first.images, second.images)]
    pairs += zip((*first.boxes, *first.labels), (*second.boxes, *second.labels), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_a_batch_is_what_a_detector_takes(parts: Parts) -> None:
    some = batch(parts.train, torch.tensor([0, 3, 5]), size=48, seed=0, index=0)
    assert some.images.shape == (3, 3, 48, 48)
    assert some.images.dtype == torch.float32
    assert some.images.is_contiguous()
    assert 0 <= some.images.min() < 0.2
    assert 0.5 < some.images.max() <= 1
    for boxes, labels in zip(some.boxes, some.labels, strict=True):
        assert boxes.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert boxes.shape == (len(labels), 4)
        assert len(labels) >= 1
        assert bool(((boxes >= 0) & (boxes <= 1)).all())
        assert bool((boxes[:, :2] < boxes[:, 2:]).all())
    assert equal(some.to(torch.device("cpu")), some)


def test_a_resumed_run_repeats_its_batches(parts: Parts, tmp_path: Path) -> None:
    """Steps 0 to 5 in one go; then steps 3 to 5 by a new process, so to say: another collection, nothing cached."""
    rows = [[step % 12, (5 * step + 1) % 12] for step in range(6)]
    straight = [batch(parts.train, some, size=32, seed=4, index=step) for step, some in enumerate(rows)]
    torch.rand(3)
    np.random.default_rng().random()
    fresh = Collection(parts.train.records, classes=CLASSES, skipped={}, cache_bytes=0)
    resumed = [batch(fresh, rows[step], size=32, seed=4, index=step) for step in (3, 4, 5)]
    assert all(equal(first, second) for first, second in zip(straight[3:], resumed, strict=True))


def test_seed_step_and_place_each_change_the_augmentation(parts: Parts) -> None:
    first = batch(parts.train, [2, 2], size=32, seed=0, index=0)
    assert not torch.equal(first.images[0], first.images[1])
    assert not equal(first, batch(parts.train, [2, 2], size=32, seed=1, index=0))
    assert not equal(first, batch(parts.train, [2, 2], size=32, seed=0, index=1))


def test_without_augmentation_images_are_resized_and_no_object_is_lost(parts: Parts) -> None:
    rows = list(range(12))
    some = batch(parts.train, rows, size=40, seed=0, index=0, augmented=False)
    for row in rows:
        record = parts.train.records[row]
        expected = resize(read_image(record.path), size=40)
        np.testing.assert_array_equal((255 * some.images[row]).round().permute(1, 2, 0).numpy(), expected)
        width, height = record.size
        np.testing.assert_allclose(some.boxes[row] * torch.tensor([width, height] * 2), record.boxes, atol=1e-3)
        assert some.labels[row].tolist() == record.labels.tolist()


def test_settings_reach_the_augmentation(parts: Parts) -> None:
    still = AugmentSettings(0.0, 0.0, 0.0, 0.0, expand=1.0, crop=False, flip=False, filters=False)
    drawn = batch(parts.train, [0, 1], size=40, seed=0, index=0, settings=still)
    assert equal(drawn, batch(parts.train, [0, 1], size=40, seed=0, index=0, augmented=False))


def test_evaluation_is_in_the_pixels_of_the_original(parts: Parts) -> None:
    seen = evaluation_images(parts.test, torch.tensor([4, 0]), size=24)
    assert seen.images.shape == (2, 3, 24, 24)
    for place, row in enumerate((4, 0)):
        record, truth = parts.test.records[row], seen.truths[place]
        assert seen.sizes[place] == record.size == read_image(record.path).shape[1::-1]
        np.testing.assert_array_equal(truth.boxes, record.boxes)
        np.testing.assert_array_equal(truth.labels, record.labels)
        np.testing.assert_array_equal(truth.difficult, record.difficult)
        assert truth.boxes.max() > 1
        expected = resize(read_image(record.path), size=24)
        np.testing.assert_array_equal((255 * seen.images[place]).round().permute(1, 2, 0).numpy(), expected)


def test_decoded_images_are_kept_up_to_the_budget(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [3 * record.size[0] * record.size[1] for record in parts.train.records[:3]]
    few = Collection(parts.train.records[:3], classes=CLASSES, skipped={}, cache_bytes=sizes[0] + sizes[1])
    for row in range(3):
        few.image(row)
    decoded: list[str] = []

    def spy(path: Path, *, upright: bool) -> np.ndarray:
        decoded.append(path.stem)
        return read_image(path, upright=upright)

    monkeypatch.setattr(data, "read_image", spy)
    for row in (0, 1, 2, 0, 1, 2):
        np.testing.assert_array_equal(few.image(row), read_image(few.records[row].path))
    assert decoded == ["train_000002"] * 2
    with pytest.raises(ValueError, match="read-only"):
        few.image(0)[0, 0, 0] = 1


def test_an_image_that_breaks_later_is_named(parts: Parts, tmp_path: Path) -> None:
    write_devkit(tmp_path, "VOC2007", "train", 1)
    records = read_voc(tmp_path, [("VOC2007", "train")]).records
    records[0].path.write_bytes(b"gone")
    broken = Collection(records, classes=VOC_CLASSES, skipped={})
    with pytest.raises(VocError, match=r"train_0\.jpg: .*cannot be decoded"):
        batch(broken, [0], size=16, seed=0, index=0)


def write_devkit(root: Path, year: str, split: str, count: int) -> None:
    """Every second object is difficult."""
    images = [
        Annotated(
            f"{year[3:]}_{split}_{number}" if year != "VOC2007" else f"{split}_{number}",
            np.full((20, 30, 3), number, dtype=np.uint8),
            np.array([[1, 2, 11, 12], [5, 5, 30, 20]]),
            np.array([number % 20, 14]),
            np.array([False, True]),
        )
        for number in range(count)
    ]
    write_voc(root / year, split, images, classes=VOC_CLASSES)


@pytest.fixture(name="devkit")
def _devkit(tmp_path: Path) -> Path:
    write_devkit(tmp_path, "VOC2007", "trainval", 20)
    write_devkit(tmp_path, "VOC2012", "trainval", 30)
    write_devkit(tmp_path, "VOC2007", "test", 7)
    return tmp_path


def test_a_voc_devkit_with_a_part_held_out(devkit: Path) -> None:
    parts = load(str(devkit))
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [46, 4, 7]
    names = [record.name for part in (parts.train, parts.validation) for record in part.records]
    expected = [f"trainval_{number}" for number in range(20)] + [f"2012_trainval_{number}" for number in range(30)]
    assert sorted(names) == sorted(expected)
    assert parts.test.classes == VOC_CLASSES
    assert load(str(devkit)) is parts
    data._devkit.cache_clear()
    again = load(str(devkit))
    assert again is not parts
    assert [one.name for one in again.validation.records] == [one.name for one in parts.validation.records]


def test_difficult_objects_are_trained_on_and_flagged_in_the_truth(devkit: Path) -> None:
    parts = load(str(devkit))
    drawn = batch(parts.train, [0], size=16, seed=0, index=0, augmented=False)
    assert len(drawn.boxes[0]) == 2
    assert evaluation_images(parts.test, [0], size=16).truths[0].difficult.tolist() == [False, True]


def test_other_sets_of_a_devkit(devkit: Path) -> None:
    parts = load(str(devkit), train_sets=[("VOC2012", "trainval")], test_sets=[("VOC2007", "trainval")])
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [28, 2, 20]


def test_a_defect_raises_or_is_skipped_and_shown(devkit: Path) -> None:
    names = [record.name for record in load(str(devkit)).validation.records]
    data._devkit.cache_clear()
    path = devkit / "VOC2012" / "JPEGImages" / "2012_trainval_3.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(VocError, match=r"2012_trainval_3\.jpg"):
        load(str(devkit))
    parts = load(str(devkit), on_error="skip")
    assert len(parts.train) + len(parts.validation) == 49
    assert len(parts.train.skipped) == 1
    assert len(parts.test.skipped) == 0
    assert path.stem not in names
    assert [record.name for record in parts.validation.records] == names, "what is left out moves no other image"


def test_a_devkit_without_images_left_is_refused(devkit: Path) -> None:
    for path in (devkit / "VOC2007" / "JPEGImages").glob("test_*.jpg"):
        path.unlink()
    with pytest.raises(ValueError, match=r"test sets of .* have 0 images \(7 were skipped\); allowed: at least 1"):
        load(str(devkit), on_error="skip")


def test_a_missing_devkit_is_named(tmp_path: Path) -> None:
    with pytest.raises(VocError, match=rf"{tmp_path}/VOC2007/ImageSets/Main/trainval\.txt: no such image set"):
        load(str(tmp_path))
