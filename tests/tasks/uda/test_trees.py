"""Trees of image files: nothing in one is passed over in silence but litter, and lists say what they may."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.images import read_image, suffixes
from tasks.uda.data import Photos, load_domain, load_pair
from tasks.uda.data.real import _load
from tasks.uda.data.trees import class_folders, list_file

EXPECTED = "a tree"


@pytest.fixture(autouse=True)
def _no_memory() -> None:
    _load.cache_clear()


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, format="PNG")
    return path


def text(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def tree(root: Path) -> list[tuple[Path, str]]:
    return [(picture(root / kind / f"{number}.png"), kind) for kind in ("bike", "mug") for number in range(2)]


def lists(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join(lines).encode())
    return path


def test_every_kind_of_file_that_is_read_is_found(tmp_path: Path) -> None:
    kinds = {
        "BMP": ".bmp .dib",
        "GIF": ".gif",
        "JPEG": ".jpg .jpeg .jfif .jpe",
        "JPEG2000": ".jp2 .j2k .jpx",
        "PNG": ".png .apng",
        "PPM": ".ppm .pgm .pbm .pnm",
        "TIFF": ".tif .tiff",
        "WEBP": ".webp",
    }
    named = {suffix: kind for kind, some in kinds.items() for suffix in some.split()}
    del named[".dib"]  # Pillow has another format for these
    for suffix, kind in named.items():
        path = tmp_path / "c" / f"one{suffix}"
        path.parent.mkdir(exist_ok=True)
        pixels = np.full((8, 8), 255, dtype=np.uint8)
        Image.fromarray(pixels).convert("1" if suffix == ".pbm" else "L").save(path, format=kind)
        path.with_name(f"two{suffix.upper()}").write_bytes(path.read_bytes())
    found = class_folders(tmp_path, expected=EXPECTED)
    assert {path.suffix for path, _ in found} == {*named, *map(str.upper, named)}
    for path, _ in found:
        assert read_image(path, side=4).shape == (4, 4, 3)


def test_a_kind_of_file_that_is_not_read_is_no_image() -> None:
    assert not {".pdf", ".eps", ".svg", ".psd", ".txt", ".xml", ".npy", ""} & suffixes()
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in suffixes())


@pytest.mark.parametrize(
    "name",
    [
        "mug/.DS_Store",
        "mug/._0.png",
        "mug/Thumbs.db",
        "mug/desktop.ini",
        "mug/.ipynb_checkpoints/0.png",
        "mug/@eaDir/0.png",
        "__MACOSX/mug/._0.png",
        ".cache/0.png",
        "._stray.png",
        "README.md",
        "labels.csv",
    ],
)
def test_litter_and_what_is_written_beside_the_classes_do_not_count(tmp_path: Path, name: str) -> None:
    images = tree(tmp_path)
    (picture if name.endswith(".png") else text)(tmp_path / name)
    assert class_folders(tmp_path, expected=EXPECTED) == images


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: text(root / "mug" / "notes.txt"), r"mug/notes\.txt: .*no image.*allowed: .*\.jfif.*: a tree"),
        (lambda root: picture(root / "mug" / "photo"), r"mug/photo: .*no image"),
        (lambda root: picture(root / "mug" / "photo.heic"), r"mug/photo\.heic: .*no image"),
        (lambda root: picture(root / "mug" / "more" / "0.png"), r"mug/more: a folder inside the class 'mug'.*expected"),
        (lambda root: picture(root / "stray.JFIF"), r"stray\.JFIF: an image outside the folders of the classes"),
        (lambda root: (root / "mug" / "2.png").symlink_to(root / "gone.png"), r"mug/2\.png: a link that leads nowhere"),
        (lambda root: (root / "pen").symlink_to(root / "gone"), r"pen: a link that leads nowhere"),
        (lambda root: text(root / "pen" / ".DS_Store"), r"pen: a class without images"),
    ],
)  # fmt: skip
def test_what_would_be_passed_over_is_refused(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    tree(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message):
        class_folders(tmp_path, expected=EXPECTED)


def test_a_class_may_be_a_link_to_a_folder(tmp_path: Path) -> None:
    tree(tmp_path / "elsewhere")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mug").symlink_to(tmp_path / "elsewhere" / "mug")
    found = class_folders(tmp_path / "here", expected=EXPECTED)
    assert found == [(tmp_path / "here" / "mug" / f"{number}.png", "mug") for number in range(2)]


@pytest.mark.parametrize("between", [" ", "\t", "  ", " \t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_stands_between_a_path_and_its_number(tmp_path: Path, between: str, end: str) -> None:
    images = tree(tmp_path)
    picture(tmp_path / "mug" / "a 2.png")
    lines = [f"{kind}/{path.name}{between}{k}" for k, kind in enumerate(("bike", "mug")) for path, _ in images[:2]]
    path = tmp_path / "list.txt"
    path.write_bytes(end.join(["", *lines, f"mug/a 2.png{between}1", "", ""]).encode("utf-8-sig"))
    found, numbers = list_file(path, tmp_path, root=tmp_path, classes=2, expected=EXPECTED)
    assert found == [*images, (tmp_path / "mug" / "a 2.png", "mug")]
    assert numbers == {"bike": 0, "mug": 1}


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0\n\r"), min_size=1, max_size=40)


@settings(deadline=None, max_examples=60)
@given(kind=names, name=names)
@example(kind="a\u2028b", name="c\x85d\x0b\x1ce.png")
@example(kind="two words", name="0 1.png 7")
def test_a_list_may_name_any_file(kind: str, name: str) -> None:
    kind, name = (one.strip(" \t").strip(".") or "x" for one in (kind, name))
    kind, name = f"k{kind}", f"{name}x"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            path = text(root / kind / name)
        except (OSError, UnicodeError):  # longer than the file system takes
            return
        lists(root / "list.txt", f"{kind}/{name} 3")
        found, numbers = list_file(root / "list.txt", root, root=root, classes=4, expected=EXPECTED)
        assert (found, numbers) == ([(path, kind)], {kind: 3})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mug/1.png 2", r"line 2 \('mug/1\.png 2'\): number 2 is out of range; allowed: 0 to 1, for the 2 classes"),
        ("mug/1.png -1", "line 2 .* is not a path and a number; expected: a tree"),
        ("mug/1.png", "line 2 .* is not a path and a number"),
        ("mug/1.png ²", "line 2 .* is not a path and a number"),
        ("stray.png 1", r"line 2 .*: stray\.png does not lie in the folder of a class; expected: <class>/<file> in .*"),
        ("./stray.png 1", "line 2 .*does not lie in the folder of a class"),
        ("mug/deep/0.png 1", "line 2 .*does not lie in the folder of a class"),
        ("../outside/mug/0.png 1", "line 2 .*does not lie in the folder of a class"),
        ("mug/../../outside/0.png 1", "line 2 .*does not lie in the folder of a class"),
        ("/etc/passwd 1", "line 2 .*does not lie in the folder of a class"),
        ("mug/0.png 1", "line 2 .*is listed already, in line 1"),
        ("./mug/0.png 1", "line 2 .*is listed already, in line 1"),
        ("mug//0.png 1", "line 2 .*is listed already"),
        ("mug/../mug/0.png 1", "line 2 .*is listed already"),
        ("mug/1.png 0", "class 'mug' has the numbers .0, 1.; allowed: one"),
        ("bike/1.png 1", "line 2 .*: 1 is 'mug' above; allowed: one class for a number"),
        ("mug/2.png 1", r"line 2 .*no file .*mug/2\.png"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, line: str, message: str) -> None:
    root = tmp_path / "inside"
    tree(root)
    for path in ("inside/stray.png", "inside/mug/deep/0.png", "outside/mug/0.png", "outside/0.png"):
        picture(tmp_path / path)
    lists(root / "list.txt", "mug/0.png 1", line)
    with pytest.raises(ValueError, match=rf"list\.txt: {message}"):
        list_file(root / "list.txt", root, root=root, classes=2, expected=EXPECTED)


def domainnet(root: Path, domain: str, train: list[str], test: list[str]) -> None:
    for kind in ("bike", "mug"):
        for number in range(3):
            picture(root / "domainnet" / domain / kind / f"{number}.png")
    lists(root / "domainnet" / f"{domain}_train.txt", *(f"{domain}/{line}" for line in train))
    lists(root / "domainnet" / f"{domain}_test.txt", *(f"{domain}/{line}" for line in test))


RIGHT = ["bike/0.png 4", "bike/1.png 4", "mug/0.png 9", "mug/1.png 9"]


def test_a_list_of_a_domain_names_files_of_that_domain(tmp_path: Path) -> None:
    domainnet(tmp_path, "real", RIGHT, ["mug/2.png 9"])
    domainnet(tmp_path, "sketch", RIGHT, ["../real/mug/2.png 9"])
    real = load_domain("domainnet/real", channels=3, size=224, data_dir=str(tmp_path))
    assert isinstance(real.test.images, Photos)
    assert real.test.images.paths == (tmp_path / "domainnet" / "real" / "mug" / "2.png",)
    with pytest.raises(ValueError, match=r"sketch_test\.txt: line 1 .*expected: <class>/<file> in .*domainnet/sketch"):
        load_domain("domainnet/sketch", channels=3, size=224, data_dir=str(tmp_path))


def test_an_image_in_the_training_and_the_test_list_is_named_however_it_is_spelt(tmp_path: Path) -> None:
    domainnet(tmp_path, "real", RIGHT, ["bike/../mug/0.png 9"])
    with pytest.raises(ValueError, match=r"real_test\.txt lists .*mug/0\.png, which is in the training list too"):
        load_domain("domainnet/real", channels=3, size=224, data_dir=str(tmp_path))


def test_lists_of_one_domain_agree_on_the_numbers(tmp_path: Path) -> None:
    domainnet(tmp_path, "real", RIGHT, ["mug/2.png 4"])
    with pytest.raises(
        ValueError, match=r"real_test\.txt gives class 'mug' the number 4, .*real_train\.txt 9; allowed"
    ):
        load_domain("domainnet/real", channels=3, size=224, data_dir=str(tmp_path))


def test_lists_of_both_domains_agree_on_the_numbers(tmp_path: Path) -> None:
    domainnet(tmp_path, "real", RIGHT, ["mug/2.png 9"])
    domainnet(tmp_path, "sketch", RIGHT, ["mug/2.png 9"])
    domainnet(tmp_path, "clipart", [line.replace(" 9", " 5") for line in RIGHT], ["mug/2.png 5"])
    pair = load_pair("domainnet/real", "domainnet/sketch", data_dir=str(tmp_path))
    assert [domain.numbers for domain in pair] == [(4, 9), (4, 9)]
    with pytest.raises(ValueError, match="'domainnet/real' and 'domainnet/clipart' .* class 'mug' .*numbers 9 and 5"):
        load_pair("domainnet/real", "domainnet/clipart", data_dir=str(tmp_path))
