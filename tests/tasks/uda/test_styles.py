"""Styles: drawings in the format of the packages, written here, become domains; what is missing is said."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.uda.data import check_pair, classes_of, fetch, image_shape, load_domain, styles
from tasks.uda.data.fetch import FetchError
from tasks.uda.data.styles import CLASSES, OBJECTS, STYLES

CODES = [code for codes in OBJECTS.values() for code in codes]


def colour(row: int) -> tuple[int, int, int]:
    return row % 256, row // 256 * 100, 77


def write(folder: Path, **changed: Any) -> None:
    """A style whose object number k is one colour all over, (k mod 256, 100 [k / 256], 77)."""
    folder.mkdir(parents=True, exist_ok=True)
    icons = {
        f"thing-{row}": {"body": '<path fill="rgb({},{},{})" d="M0 0h32v32H0z"/>'.format(*colour(row))}
        for row in range(len(CODES))
    }
    chars = {code + ("-FE0F" if row % 2 else ""): f"thing-{row}" for row, code in enumerate(CODES)}
    (folder / "icons.json").write_text(json.dumps({"prefix": "x", "icons": icons, "width": 32, "height": 32} | changed))
    (folder / "chars.json").write_text(json.dumps(chars))


@pytest.fixture(name="sets", scope="module")
def _sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for name in ("noto", "fluent"):
        write(folder / "styles" / name)
    return folder


def test_ten_subgroups_of_at_least_twenty_objects_that_are_nobody_elses() -> None:
    assert len(CLASSES) == 10
    assert min(map(len, OBJECTS.values())) == 20
    assert len(set(CODES)) == len(CODES) == sum(styles.COUNTS) == 365
    assert all(0x2000 < int(code, 16) < 0x20000 for code in CODES)


def test_test_objects_are_in_no_other_part() -> None:
    train, validation, test = styles.partition()
    assert sorted([*train, *validation, *test]) == list(range(365))
    labels = np.repeat(np.arange(10), [len(codes) for codes in OBJECTS.values()])
    for part in (train, validation, test):
        shares = np.bincount(labels[part]) / np.bincount(labels)
        assert shares.max() - shares.min() < 0.1


def test_a_style_is_read_object_by_object(sets: Path) -> None:
    domain = load_domain("noto", channels=3, size=96, data_dir=str(sets))
    assert domain.classes == CLASSES == classes_of("noto", "fluent")
    assert [len(part) for part in (domain.train, domain.validation, domain.test)] == [218, 37, 110]
    labels = np.repeat(np.arange(10), [len(codes) for codes in OBJECTS.values()])
    for rows, part in zip(styles.partition(), (domain.train, domain.validation, domain.test), strict=True):
        assert part.images.shape == (len(rows), 3, 96, 96)
        assert part.labels.tolist() == labels[rows].tolist()
        assert part.images[:, :, 40, 50].tolist() == [list(colour(row)) for row in rows]


def test_a_drawing_may_have_a_box_of_its_own_and_lies_on_white() -> None:
    body = '<circle cx="-5" cy="15" r="5" fill="#00f"/>'
    icons = {
        "icons": {"x": {"body": body, "left": -10, "top": 10, "width": 10, "height": 10}},
        "width": 72,
        "height": 72,
    }
    drawn = styles.draw(icons, "x", where=Path("icons.json"))
    assert drawn[48, 48].tolist() == [0, 0, 255]
    assert drawn[2, 2].tolist() == [255, 255, 255]
    assert drawn[48, 2].tolist()[2] == 255
    assert 0.7 < (drawn[:, :, 0] < 128).mean() < 0.85  # a circle fills pi / 4 of its box


def test_shape_and_options() -> None:
    assert image_shape("noto", "openmoji") == (3, 96)
    check_pair("noto", "twemoji", batch_size=218, data_dir=None)
    with pytest.raises(ValueError, match="batch_size=219 is out of range; allowed: int >= 2 and <= 218"):
        check_pair("noto", "twemoji", batch_size=219, data_dir=None)
    with pytest.raises(ValueError, match="'noto' and 'font' have different classes"):
        check_pair("noto", "font", batch_size=16, data_dir=None)
    with pytest.raises(ValueError, match="'noto' comes with 3 channels at 96 pixels"):
        load_domain("noto", channels=1, size=96)


def test_without_the_files_it_is_said_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(styles, "HOME", tmp_path / "nowhere")
    for data_dir in (None, str(tmp_path)):
        with pytest.raises(FileNotFoundError, match=r"noto.icons\.json; expected: .*run `make styles`"):
            load_domain("noto", channels=3, size=96, data_dir=data_dir)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"icons": {}}, r"no drawing of U\+.*run `make styles`"),
        ({"icons": {f"thing-{row}": {"body": "<g"} for row in range(365)}}, r"'thing-0' cannot be drawn"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, changed: dict, message: str) -> None:
    write(tmp_path / "styles" / "noto", **changed)
    with pytest.raises(ValueError, match=rf"{tmp_path}.*noto.*{message}"):
        load_domain("noto", channels=3, size=96, data_dir=str(tmp_path))


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), ("[]", "holds a list; expected")])
def test_files_that_are_no_sets_are_named(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path / "styles" / "noto")
    (tmp_path / "styles" / "noto" / "chars.json").write_text(text)
    with pytest.raises(ValueError, match=rf"chars\.json: {message}"):
        load_domain("noto", channels=3, size=96, data_dir=str(tmp_path))


def package(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            source = path.with_name("member")
            source.write_bytes(data)
            archive.add(source, arcname=f"package/{name}")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"icons.json": b"icons", "chars.json": b"chars"}, None),
        ({"icons.json": b"other", "chars.json": b"chars"}, r"icons\.json of @x/y@1\.0 has digest .*; expected"),
        ({"icons.json": b"icons"}, r"@x/y@1\.0 holds no chars\.json"),
    ],
)
def test_what_is_fetched_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], message: str | None
) -> None:
    digests = [hashlib.sha256(data).hexdigest() for data in (b"icons", b"chars")]
    monkeypatch.setitem(STYLES, "noto", styles.Style("@x/y", "1.0", "MIT", *digests))
    asked: list[list[str]] = []

    def run(command: list[str], *, cwd: Path, **_: Any) -> None:
        asked.append(command)
        package(cwd / "y-1.0.tgz", files)

    monkeypatch.setattr(fetch.subprocess, "run", run)
    if message is not None:
        with pytest.raises(FetchError, match=message):
            fetch.fetch("noto", tmp_path)
        assert not (tmp_path / "noto").exists()
        return
    assert fetch.fetch("noto", tmp_path)
    assert asked[0][-1] == "@x/y@1.0"
    assert (tmp_path / "noto" / "icons.json").read_bytes() == b"icons"
    assert not fetch.fetch("noto", tmp_path)  # what is right is kept
    assert len(asked) == 1
    (tmp_path / "noto" / "icons.json").write_bytes(b"spoilt")
    assert fetch.fetch("noto", tmp_path)


def test_a_failure_of_npm_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, message in (
        (FileNotFoundError("npm"), "npm was not found, which fetches @iconify-json/noto@1.2.9"),
        (subprocess.CalledProcessError(1, "npm", stderr="no network\n"), "npm could not fetch .*: no network"),
    ):

        def run(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(fetch.subprocess, "run", run)
        monkeypatch.setattr(fetch, "HOME", tmp_path)
        with pytest.raises(FetchError, match=message):
            fetch.fetch("noto", tmp_path)
        assert fetch.main() == 1
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.skipif(not (styles.HOME / "openmoji" / "icons.json").is_file(), reason="needs `make styles`")
def test_the_fetched_drawings_are_pictures_of_different_things() -> None:
    for name in STYLES:
        images = styles.rasterised(styles.HOME / name).float()
        assert len({image.numpy().tobytes() for image in images}) == 365
        assert (images.std(dim=(1, 2, 3)) > 10).all()
        assert torch.equal(images[:, :, 0, 0].median(dim=0).values, torch.full((3,), 255.0))
