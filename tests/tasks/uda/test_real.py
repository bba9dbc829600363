"""Published data sets: small trees in the real formats, written here, and the ways in which one may be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features
from datasets import Image as ImageFeature
from PIL import Image

from tasks.uda.data import (
    DOMAINS,
    Batches,
    Photos,
    Split,
    check_pair,
    classes_of,
    folders,
    image_shape,
    load_domain,
    load_pair,
)
from tasks.uda.data.photos import SIDE, STORED
from tasks.uda.data.real import COLLECTIONS, _load
from tasks.uda.task import UDA

CLASSES = ("alarm clock", "back_pack", "mug")


@pytest.fixture(autouse=True)
def _no_memory() -> None:
    _load.cache_clear()


def colour(kind: int, number: int) -> tuple[int, int, int]:
    return 60 * kind, 20 * number, 90


def photographs(folder: Path, *, count: int = 4, suffix: str = ".png", classes: tuple[str, ...] = CLASSES) -> list[str]:
    """`count` photographs of one colour for each class; their paths from `folder`."""
    names = []
    for kind, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.new("RGB", (40, 30), colour(kind, number)).save(folder / name / f"img {number}{suffix}")
            names.append(f"{name}/img {number}{suffix}")
    return names


def listed(path: Path, names: list[str], *, folder: str = "") -> None:
    lines = [f"{folder}{name} {CLASSES.index(name.split('/')[0])}" for name in names]
    path.write_text("\n".join(lines) + "\n")


def office31(root: Path) -> None:
    for domain in ("amazon", "dslr", "webcam"):
        photographs(root / "office31" / domain / "images")


def office_home(root: Path) -> None:
    for domain in ("Art", "Clipart", "Product", "Real World"):
        photographs(root / "office-home" / domain)


def visda(root: Path) -> None:
    for part in ("train", "validation"):
        names = photographs(root / "visda" / part)
        listed(root / "visda" / part / "image_list.txt", names)


def domainnet(root: Path) -> None:
    for domain in COLLECTIONS["domainnet"].domains:
        names = photographs(root / "domainnet" / domain)
        listed(root / "domainnet" / f"{domain}_train.txt", names[::2], folder=f"{domain}/")
        listed(root / "domainnet" / f"{domain}_test.txt", names[1::2], folder=f"{domain}/")


WRITERS: dict[str, Callable[[Path], None]] = {
    "office31": office31,
    "office-home": office_home,
    "visda": visda,
    "domainnet": domainnet,
}
NAMES = [name for name in DOMAINS if "/" in name]


def test_every_collection_has_a_tree_here() -> None:
    assert set(WRITERS) == set(COLLECTIONS) == {name.partition("/")[0] for name in NAMES}
    assert len(NAMES) == 3 + 4 + 2 + 6


@pytest.mark.parametrize("name", NAMES)
def test_a_tree_in_the_real_format_is_read(tmp_path: Path, name: str) -> None:
    collection = name.partition("/")[0]
    WRITERS[collection](tmp_path)
    domain = load_domain(name, channels=3, size=224, data_dir=str(tmp_path))
    assert domain.classes == CLASSES
    parted = collection == "domainnet"
    assert len(domain.train) == len(domain.test) == (6 if parted else 12)
    assert len(domain.validation) >= 1
    for part in (domain.train, domain.validation, domain.test):
        images = part.images[:]
        assert images.shape == part.images.shape == (len(part), 3, 224, 224)
        assert images.dtype == torch.uint8
        assert torch.equal(images[:, 0, 100, 100].long(), 60 * part.labels)
    paths = [set(part.images.paths) for part in (domain.train, domain.test) if isinstance(part.images, Photos)]
    assert (not paths[0] & paths[1]) if parted else paths[0] == paths[1]


def test_other_spellings_of_folders_and_suffixes(tmp_path: Path) -> None:
    photographs(tmp_path / "office31" / "amazon", suffix=".JPG")
    photographs(tmp_path / "office-home" / "RealWorld", suffix=".jpeg")
    photographs(tmp_path / "visda" / "train")  # no list: the folders say the class
    for name in ("office31/amazon", "office-home/real_world", "visda/synthetic"):
        assert load_domain(name, channels=3, size=224, data_dir=str(tmp_path)).classes == CLASSES


def test_numbers_of_a_list_need_not_follow_the_alphabet(tmp_path: Path) -> None:
    for part in ("train", "validation"):
        names = photographs(tmp_path / "visda" / part)
        lines = [f"{name} {7 - CLASSES.index(name.split('/')[0])}" for name in names]
        (tmp_path / "visda" / part / "image_list.txt").write_text("\n".join(lines))
    for name in ("visda/synthetic", "visda/real"):
        domain = load_domain(name, channels=3, size=224, data_dir=str(tmp_path))
        assert torch.equal(domain.train.images[:][:, 0, 9, 9].long(), 60 * domain.train.labels)


def append(path: str, text: str) -> Callable[[Path], Any]:
    def spoil(root: Path) -> None:
        with (root / path).open("a") as file:
            file.write(text)

    return spoil


def remove(path: str) -> Callable[[Path], Any]:
    def spoil(root: Path) -> None:
        (root / path).rename(root / "gone")

    return spoil


def empty(path: str) -> Callable[[Path], Any]:
    return lambda root: (root / path).mkdir(parents=True)


LIST = "visda/validation/image_list.txt"
MISSING, WRONG = FileNotFoundError, ValueError
DEFECTS: list[tuple[str, Callable[[Path], Any], type[Exception], str]] = [
    (
        "office31/dslr",
        remove("office31"),
        MISSING,
        r"no folder .*office31/dslr/images or .*; expected: off",
    ),
    (
        "office-home/real_world",
        remove("office-home/Real World"),
        MISSING,
        r"no folder .*Real World or .*RealWor",
    ),
    ("office-home/art", empty("office-home/Art/Empty"), WRONG, r"Art/Empty: a class without images; expected"),
    (
        "office31/dslr",
        append("office31/dslr/images/stray.jpg", "x"),
        WRONG,
        r"stray\.jpg: an image outside the fold",
    ),
    (
        "visda/real",
        remove("visda/validation"),
        MISSING,
        r"no folder .*visda/validation; expected: visda/train",
    ),
    (
        "visda/real",
        append(LIST, "mug/none.png 2"),
        WRONG,
        r"image_list\.txt: line 13 .*no",
    ),
    (
        "visda/real",
        append(LIST, "mug/img 0.png"),
        WRONG,
        r"line 13 .*not a path and a num",
    ),
    (
        "visda/real",
        append(LIST, "mug/img 0.png 2"),
        WRONG,
        r"line 13 .*listed already",
    ),
    (
        "visda/real",
        append(LIST, "mug/x.png 1"),
        WRONG,
        r"line 13 .*1 is 'back_pack' above",
    ),
    (
        "domainnet/real",
        remove("domainnet/real_test.txt"),
        MISSING,
        r"no list .*real_test\.txt; expected: domainnet",
    ),
    (
        "domainnet/real",
        append("domainnet/real_test.txt", "real/mug/img 0.png 2"),
        WRONG,
        r"real_test\.txt lists .*mug/img 0\.png, which is in the training list too",
    ),
]


@pytest.mark.parametrize(("name", "spoil", "error", "message"), DEFECTS)
def test_a_missing_or_malformed_tree_is_named(
    tmp_path: Path, name: str, spoil: Callable[[Path], Any], error: type[Exception], message: str
) -> None:
    WRITERS[name.partition("/")[0]](tmp_path)
    spoil(tmp_path)
    with pytest.raises(error, match=message):
        load_domain(name, channels=3, size=224, data_dir=str(tmp_path))


def test_a_class_with_two_numbers_is_named(tmp_path: Path) -> None:
    names = photographs(tmp_path / "visda" / "train")
    (tmp_path / "visda" / "train" / "image_list.txt").write_text("\n".join(f"{n} {k}" for k, n in enumerate(names)))
    with pytest.raises(ValueError, match=r"image_list\.txt: class 'alarm clock' has the numbers \[0, 1, 2, 3\]"):
        load_domain("visda/synthetic", channels=3, size=224, data_dir=str(tmp_path))


def test_domains_of_different_classes_are_refused(tmp_path: Path) -> None:
    photographs(tmp_path / "office31" / "amazon" / "images")
    photographs(tmp_path / "office31" / "dslr" / "images", classes=("back_pack", "bike", "mug"))
    with pytest.raises(ValueError, match=r"different classes: \['alarm clock'\] .*\['bike'\]"):
        load_pair("office31/amazon", "office31/dslr", data_dir=str(tmp_path))
    with pytest.raises(ValueError, match="'office31/amazon' and 'office-home/art' have different classes"):
        classes_of("office31/amazon", "office-home/art")


def test_more_classes_than_the_data_set_has_are_refused(tmp_path: Path) -> None:
    photographs(tmp_path / "visda" / "train", count=1, classes=tuple(f"c{k}" for k in range(13)))
    with pytest.raises(ValueError, match="has 13 classes.*allowed: 2 to 12"):
        load_domain("visda/synthetic", channels=3, size=224, data_dir=str(tmp_path))


def test_shapes_and_options() -> None:
    assert image_shape("office31/amazon", "office31/dslr") == (3, 224)
    with pytest.raises(ValueError, match="data_dir=None does not do for 'office31/amazon'"):
        check_pair("office31/amazon", "office31/dslr", batch_size=32, data_dir=None)
    with pytest.raises(ValueError, match="'office31/amazon' needs data_dir.*office31/<domain>/images"):
        load_domain("office31/amazon", channels=3, size=224)
    with pytest.raises(ValueError, match="3 channels at 224 pixels, got channels=1"):
        load_domain("office31/amazon", channels=1, size=224, data_dir="x")
    with pytest.raises(ValueError, match="protocol='full' has no effect"):
        check_pair("font", "optical", batch_size=32, data_dir=None, protocol="full")
    with pytest.raises(ValueError, match="protocol='half' is unknown; allowed"):
        check_pair("usps", "mnist", batch_size=32, data_dir="x", protocol="half")


def gradient(folder: Path) -> Photos:
    """Two photographs of 256x256: one grows from left to right, the other from top to bottom."""
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8), (256, 256))
    for name, pixels in (("a", ramp), ("b", ramp.T)):
        Image.fromarray(np.stack([pixels] * 3, axis=2)).save(folder / f"{name}.png")
    return Photos([folder / "a.png", folder / "b.png"])


def test_photographs_are_read_like_a_tensor(tmp_path: Path) -> None:
    photos = gradient(tmp_path)
    whole = photos[:]
    assert whole.shape == photos.shape == (2, 3, SIDE, SIDE)
    low = (STORED - SIDE) // 2
    assert whole[0, 0, 0].tolist() == list(range(low, low + SIDE))  # the middle
    assert torch.equal(photos[torch.tensor([1, 0])], whole.flip(0))
    assert torch.equal(photos[torch.tensor([False, True])], whole[1:])
    assert torch.equal(torch.cat(list(photos.split(1))), whole)
    assert photos[:0].shape == (0, 3, SIDE, SIDE)
    assert len(photos.part(torch.tensor([True, False]))) == 1


def test_training_sees_random_crops_mirrored_or_not_and_resumes(tmp_path: Path) -> None:
    split = Split(gradient(tmp_path), torch.tensor([0, 1]))
    batches = Batches(split, batch_size=2, seed=0)
    starts, steps = set(), set()
    for _ in range(20):
        images, labels = batches.draw()
        row = ((images[labels == 0][0, 0, 0] + 1) * 127.5).round().long()
        steps.add(int(row[1] - row[0]))
        starts.add(int(row.min()))
    assert steps == {1, -1}
    assert len(starts) > 8
    assert min(starts) >= 0
    assert max(starts) <= STORED - SIDE
    state = batches.state_dict()
    expected = [batches.draw()[0] for _ in range(3)]
    again = Batches(split, batch_size=2, seed=1)
    again.load_state_dict(state)
    assert all(torch.equal(again.draw()[0], images) for images in expected)


def test_a_damaged_photograph_is_named(tmp_path: Path) -> None:
    photos = gradient(tmp_path)
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:80])
    with pytest.raises(ValueError, match=r"b\.png: the image cannot be decoded"):
        photos[:]


def digits(folder: Path, name: str, *, train: int, test: int) -> None:
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=[str(digit) for digit in range(10)])})
    image = Image.new("L", (8, 8))
    parts = {
        part: Dataset.from_dict({"image": [image] * count, "label": [k % 10 for k in range(count)]}, features=features)
        for part, count in (("train", train), ("test", test))
    }
    DatasetDict(parts).save_to_disk(str(folder / name))


def test_both_published_protocols_of_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "SAMPLED", {"mnist": 40, "usps": 30})
    for name in ("mnist", "usps", "svhn"):
        digits(tmp_path, name, train=100, test=20)
    sizes = {}
    for protocol in ("held-out", "full", "sampled"):
        for name in ("mnist", "usps", "svhn"):
            domain = load_domain(name, channels=1, size=28, data_dir=str(tmp_path), protocol=protocol)
            sizes[protocol, name] = (len(domain.train), len(domain.validation), len(domain.test))
            sampled = protocol == "sampled" and name in folders.SAMPLED  # whatever the labels
            assert sampled or (torch.bincount(domain.train.labels).diff() == 0).all()
    for name in ("mnist", "usps", "svhn"):
        assert sizes["held-out", name] == (90, 10, 20)
        assert sizes["full", name] == (100, 20, 20)
    assert sizes["sampled", "mnist"] == (40, 60, 20)
    assert sizes["sampled", "usps"] == (30, 70, 20)
    assert sizes["sampled", "svhn"] == (100, 20, 20)
    monkeypatch.setattr(folders, "SAMPLED", {"mnist": 95})
    with pytest.raises(ValueError, match="has 100 images to train on; protocol='sampled' takes 95"):
        load_domain("mnist", channels=1, size=28, data_dir=str(tmp_path), protocol="sampled")


def test_the_published_protocols_take_as_many_as_published() -> None:
    assert folders.SAMPLED == {"mnist": 2000, "usps": 1800}


def test_the_hub_is_asked_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits(tmp_path, "svhn", train=40, test=20)
    from datasets import load_from_disk

    asked: list[tuple[Any, ...]] = []

    def load(*names: Any) -> Any:
        asked.append(names)
        if names[0] == "ylecun/mnist":
            raise ConnectionError("no network")
        return load_from_disk(str(tmp_path / "svhn"))

    monkeypatch.setattr("datasets.load_dataset", load)
    assert len(load_domain("svhn", channels=3, size=32, data_dir="hub").test) == 20
    assert asked == [("ufldl-stanford/svhn", "cropped_digits")]
    with pytest.raises(ValueError, match=r"ylecun/mnist cannot be loaded from the hub \(no network\)"):
        load_domain("mnist", channels=3, size=32, data_dir="hub")


def of_photographs(folder: Path, backbone: str) -> UDA:
    for domain in ("amazon", "webcam"):
        photographs(folder / "office31" / domain / "images", count=2)
    return UDA(
        source="office31/amazon",
        target="office31/webcam",
        method="source_only",
        data_dir=str(folder),
        batch_size=2,
        backbone=backbone,
    )


def test_the_problem_takes_its_classes_from_the_data(tmp_path: Path) -> None:
    problem = of_photographs(tmp_path, "efficientnet_lite0")
    problem.setup(seed=0, device=torch.device("cpu"))
    (phase,) = problem.step(0)
    assert phase.losses["classification"].isfinite()
    with torch.no_grad():
        assert problem.system.probabilities(torch.zeros(2, 3, 224, 224)).shape == (2, 3)


def test_crops_that_are_drawn_anew_do_not_go_through_fixed_layers(tmp_path: Path) -> None:
    problem = of_photographs(tmp_path, "efficientnet_lite0_late")
    with pytest.raises(ValueError, match="training sees office31/amazon in crops that are drawn anew"):
        problem.setup(seed=0, device=torch.device("cpu"))
