"""Photographs as tables of Hugging Face `datasets`, from a folder or the hub; and where `data_dir` may name the hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value, load_from_disk
from PIL import Image as PillowImage

from tasks.uda.data import Photos, load_domain, load_pair
from tasks.uda.data.real import _load
from tasks.uda.task import UDA

CLASSES = ("bike", "mug", "pen")
DOMAINS = ("Art", "Clipart", "Product", "Real World")
LABEL = ClassLabel(names=list(CLASSES))


@pytest.fixture(autouse=True)
def _no_memory() -> None:
    _load.cache_clear()


def table(
    domains: tuple[str, ...],
    *,
    label: Any = LABEL,
    labels: tuple[Any, ...] = (0, 1, 2),
    domain: Any = None,
    each: int = 2,
    name: str = "image",
    start: int = 0,
) -> Dataset:
    """`each` photographs a class and domain; red says the class, green the domain, blue the row."""
    rows = [(d, k, n) for d in range(len(domains)) for k in range(len(labels)) for n in range(each)]
    columns = {
        name: [PillowImage.new("RGB", (30, 20), (60 * k, 50 * d, start + n)) for d, k, n in rows],
        "label": [labels[k] for _, k, _ in rows],
        "domain": [d if isinstance(domain, ClassLabel) else domains[d] for d, _, _ in rows],
    }
    return Dataset.from_dict(
        columns, features=Features({name: Image(), "label": label, "domain": domain or Value("string")})
    )


def with_column(**options: Any) -> DatasetDict:
    return DatasetDict({"train": table(DOMAINS, **options)})


def with_splits() -> DatasetDict:
    whole = table(DOMAINS)
    return DatasetDict(
        {
            name.replace(" ", "_"): whole.filter(lambda row, name=name: row["domain"] == name).remove_columns("domain")
            for name in DOMAINS
        }
    )


def in_two_splits() -> DatasetDict:
    return DatasetDict({"train": table(DOMAINS, each=1), "validation": table(DOMAINS, each=1, start=1)})


LAYOUTS: dict[str, Callable[[], DatasetDict]] = {
    "a column of text": with_column,
    "a column of classes": lambda: with_column(domain=ClassLabel(names=list(DOMAINS))),
    "a split a domain": with_splits,
    "a column, and splits of other kinds": in_two_splits,
    "labels as text": lambda: with_column(label=Value("string"), labels=CLASSES),
    "labels as numbers": lambda: with_column(label=Value("int64"), labels=(0, 1, 2)),
}


def is_right(domain: Any, green: int, names: tuple[str, ...] = CLASSES) -> None:
    assert domain.classes == names
    for part in (domain.train, domain.test):
        assert isinstance(part.images, Photos)
        pixels = part.images[:][:, :, 100, 100].long()
        assert torch.equal(pixels[:, 0], 60 * part.labels)
        assert set(pixels[:, 1].tolist()) == {green}
        found = sorted(zip(part.labels.tolist(), pixels[:, 2].tolist(), strict=True))
        assert found == [(k, n) for k in range(3) for n in range(2)]


FORMS = [
    (layout, form)
    for layout in LAYOUTS
    for form in ("saved", "parquet", "data/parquet", "hub")
    if (layout, form) != ("a split a domain", "parquet")  # there `datasets` knows the usual names of splits alone
]


@pytest.mark.parametrize(("layout", "form"), FORMS)
def test_photographs_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, form: str) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder, splits = tmp_path / "office-home", LAYOUTS[layout]()
    data_dir = str(tmp_path)
    if form.endswith("parquet"):
        (folder / form).parent.mkdir(parents=True)
        for split, rows in splits.items():
            rows.to_parquet(str((folder / form).parent / f"{split}-00000-of-00001.parquet"))
    else:
        splits.save_to_disk(str(folder))
    if form == "hub":
        asked: list[tuple[Any, ...]] = []
        stored = load_from_disk(str(folder))
        monkeypatch.setattr("datasets.load_dataset", lambda *names: (asked.append(names), stored)[1])
        data_dir = "hub:someone/office-home.v1"
    names = tuple("012") if layout == "labels as numbers" else CLASSES
    source, target = load_pair("office-home/real_world", "office-home/clipart", data_dir=data_dir)
    is_right(source, 150, names)
    is_right(target, 50, names)
    if form == "hub":
        assert set(asked) == {("someone/office-home.v1",)}


@pytest.mark.parametrize("column", [True, False])
def test_domainnet_has_a_training_and_a_test_part(tmp_path: Path, column: bool) -> None:
    domains = ("real", "sketch")
    parts = {"train": table(domains), "test": table(domains, each=1, start=9)}
    if not column:
        parts = {
            f"{name}_{part}": rows.filter(lambda row, name=name: row["domain"] == name).remove_columns("domain")
            for part, rows in parts.items()
            for name in domains
        }
    DatasetDict(parts).save_to_disk(str(tmp_path / "domainnet"))
    domain = load_domain("domainnet/sketch", channels=3, size=224, data_dir=str(tmp_path))
    assert domain.classes == CLASSES
    for part, blue in ((domain.train, [0, 1]), (domain.test, [9])):
        pixels = part.images[:][:, :, 50, 50]
        assert sorted(set(pixels[:, 2].tolist())) == blue
        assert set(pixels[:, 1].tolist()) == {50}
        assert len(part) == 3 * len(blue)


def test_a_pair_of_a_table_trains(tmp_path: Path) -> None:
    with_column().save_to_disk(str(tmp_path / "office-home"))
    task = UDA(
        source="office-home/art",
        target="office-home/product",
        method="pareto_da",
        data_dir=str(tmp_path),
        batch_size=2,
        backbone="efficientnet_lite0",
    )
    task.setup(seed=0, device=torch.device("cpu"))
    assert all(isinstance(batches._split.images, Photos) for batches in task._batches.values())
    assert task._batches["target"].draw()[0].shape == (2, 3, 224, 224)


def bad_image(folder: Path) -> None:
    features = Features({"image": Image(decode=False), "label": LABEL, "domain": Value("string")})
    rows = {"image": [{"bytes": b"no image", "path": "a/b.png"}] * 3, "label": [0, 1, 2], "domain": ["Art"] * 3}
    DatasetDict({"train": Dataset.from_dict(rows, features=features).cast_column("image", Image())}).save_to_disk(
        str(folder)
    )


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": table(("Art",), name="picture")}, r"train of .*home has columns \['picture', .*expected"),
        ({"train": table(("Art",)).rename_column("label", "kind")}, r"train of .* has columns .*'kind'.*expected"),
        ({"train": table(("Art",)).cast_column("image", Image()).map(lambda row: {"image": 1}, remove_columns="image")},
         r"train of .*: column 'image' is of .*; expected"),
        ({"train": table(("Clipart", "Product"))}, r"home has no domain 'art'; found: \['Clipart', 'Product'\]"),
        ({"train": table(("Art",)).remove_columns("domain")}, r"no domain 'art'; found: \['train'\]; expected"),
        ({"train": table(("Art",), label=Value("int64"), labels=(0, -1, 2))}, "row 2 has the label -1; allowed"),
        ({"train": table(("Art",), labels=(0, None, 2))}, "train of .*: row 2 has the label None; allowed"),
        ({"train": table(("Art",), label=Value("float32"), labels=(0, 1.5, 2))}, "row 0 has the label 0.0; allowed"),
        ({"train": table(("Art",), labels=(0,))}, "art has 1 classes.*allowed: 2 to 65.*expected: a data set with"),
    ],
)  # fmt: skip
def test_a_table_that_is_wrong_is_named(tmp_path: Path, splits: Mapping[str, Dataset], message: str) -> None:
    DatasetDict(splits).save_to_disk(str(tmp_path / "office-home"))
    with pytest.raises(ValueError, match=message):
        load_domain("office-home/art", channels=3, size=224, data_dir=str(tmp_path))


def test_domainnet_without_a_test_part_is_named(tmp_path: Path) -> None:
    DatasetDict({"train": table(("real",))}).save_to_disk(str(tmp_path / "domainnet"))
    with pytest.raises(ValueError, match=r"domainnet holds the splits \['train'\]; .* 'train' and 'test'"):
        load_domain("domainnet/real", channels=3, size=224, data_dir=str(tmp_path))


def test_a_damaged_image_of_a_table_is_named(tmp_path: Path) -> None:
    bad_image(tmp_path / "office-home")
    domain = load_domain("office-home/art", channels=3, size=224, data_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"train of .*office-home: image 1 \(b\.png\): the image cannot be decoded"):
        domain.train.images[torch.tensor([1])]


def test_a_hub_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*names: Any) -> Any:
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.load_dataset", load)
    with pytest.raises(
        ValueError, match=r"a/b cannot be loaded from the hub \(no network\); expected: a data set with"
    ):
        load_domain("office31/dslr", channels=3, size=224, data_dir="hub:a/b")


@pytest.mark.parametrize(
    ("source", "target", "data_dir", "message"),
    [
        ("office31/amazon", "office31/webcam", "hub", "'office31/amazon'.*a folder .*'hub:OWNER/NAME'"),
        ("noto", "twemoji", "hub", "'noto'; allowed: none, or a folder"),
        ("noto", "twemoji", "hub:a/b", "'noto'; allowed: none, or a folder"),
        ("usps", "mnist", "hub:a/b", "'usps'; allowed: a folder .*or 'hub'"),
        ("font", "mnist", "hub:a/b", "'mnist'; allowed: a folder .*or 'hub'"),
        ("office31/amazon", "office31/webcam", "hub:amazon", "'office31/amazon'.*'hub:OWNER/NAME'"),
        ("office31/amazon", "office31/webcam", "hub:a/b/c", "'office31/amazon'"),
        ("office31/amazon", "office31/webcam", "hub:", "'office31/amazon'"),
        ("office31/amazon", "office31/webcam", "hub:../b", "'office31/amazon'"),
        ("font", "optical", "hub", "no effect"),
    ],
)
def test_the_hub_is_refused_where_it_means_nothing_before_anything_is_loaded(
    source: str, target: str, data_dir: str, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"data_dir='{data_dir}' .*{message}"):
        UDA(source=source, target=target, data_dir=data_dir)
    if target != "optical":
        with pytest.raises(ValueError, match=rf"data_dir='{data_dir}' .*{message}"):
            load_pair(source, target, data_dir=data_dir)


@pytest.mark.parametrize(
    ("source", "target", "data_dir"),
    [
        ("usps", "mnist", "hub"),
        ("font", "svhn", "hub"),
        ("visda/synthetic", "visda/real", "hub:some-one/VisDA_2017.x"),
        ("usps", "mnist", "./hub"),
        ("office31/amazon", "office31/webcam", "./hub"),
    ],
)
def test_the_hub_is_taken_where_it_means_something(source: str, target: str, data_dir: str) -> None:
    assert UDA(source=source, target=target, data_dir=data_dir).data_dir == data_dir
