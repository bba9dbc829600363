"""The reader of the published files, on files written here in that format."""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.retrieval.css import INDEX, read_css
from tasks.retrieval.data import load
from tasks.retrieval.render import Placed, render
from tasks.retrieval.scenes import Css, Scene, Thing, generate


def objects(scene: Scene) -> list[dict[str, Any]]:
    return [
        {**vars(thing), "pos": [(cell // 3 + 0.5) / 3, (cell % 3 + 0.5) / 3]}
        for cell, thing in enumerate(scene)
        if thing is not None
    ]


def part_of(css: Css) -> dict[str, Any]:
    mods = []
    for first in range(0, len(css.queries), 3):  # `generate` keeps the three queries of a modification together
        three = css.queries[first : first + 3]
        sources, targets = [query.source for query in three], [query.target for query in three]
        mods.append({"from": sources, "to": targets, "to_str": three[0].text})
    return {"mods": mods, "objects_img": [objects(scene) for scene in css.scenes]}


def write(folder: Path, data: Any) -> None:
    np.save(folder / INDEX, np.array(data, dtype=object), allow_pickle=True)


@pytest.fixture(name="parts")
def _parts() -> dict[str, Css]:
    return {
        "train": generate("train", base=40, modifications=8, seed=0),
        "test": generate("test", base=40, modifications=4, seed=0),
    }


def test_drawn_view_round_trip(tmp_path: Path, parts: dict[str, Css]) -> None:
    write(tmp_path, {name: part_of(css) for name, css in parts.items()})
    images, labels, queries = read_css(tmp_path, "test", view="2d", size=32)
    css = parts["test"]
    assert images.shape == (52, 3, 32, 32)
    assert images.dtype == np.uint8
    assert labels.tolist() == list(range(52))
    assert queries == [(query.source, query.text, query.target) for query in css.queries]
    thing = css.scenes[0].index(next(one for one in css.scenes[0] if one is not None))
    row, column = thing // 3 * 11 + 5, thing % 3 * 11 + 5
    assert (images[0][:, row - 1 : row + 1, column - 1 : column + 1] < 255).any()


def test_positions_are_row_then_column(tmp_path: Path) -> None:
    thing = {"size": "large", "color": "green", "shape": "triangle", "pos": [0.25, 0.6]}
    part = {"mods": [{"from": [0], "to": [1], "to_str": "remove triangle"}], "objects_img": [[thing], []]}
    write(tmp_path, {"train": part})
    images, _, _ = read_css(tmp_path, "train", view="2d", size=64)
    expected = render([Placed(Thing("large", "green", "triangle"), row=0.25, column=0.6)], size=64)
    np.testing.assert_array_equal(images[0], expected)
    assert (images[1] == 255).all()


def test_image_view_and_labels(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    things = [{"size": "small", "color": "red", "shape": "circle", "pos": [0.5, 0.5]}]
    part = {
        "mods": [{"from": [0], "to": [2], "to_str": "make middle-center circle large"}],
        "objects_img": [things] * 3,
        "labels": [4, 9, 9],
    }
    write(tmp_path, {"train": part})
    for index, color in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        Image.new("RGBA", (48, 32), (*color, 255)).save(tmp_path / "images" / f"css_train_{index:06d}.png")
    images, labels, queries = read_css(tmp_path, "train", view="3d", size=16)
    assert images[:, :, 8, 8].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert labels.tolist() == [4, 9, 9]
    assert queries == [(0, "make middle-center circle large", 2)]


def test_as_the_tasks_data(tmp_path: Path, parts: dict[str, Css]) -> None:
    write(tmp_path, {name: part_of(css) for name, css in parts.items()})
    loaded = load(size=16, seed=0, data_dir=str(tmp_path))
    assert len(loaded.train) + len(loaded.validation) == 24
    assert len(loaded.test) == 12
    assert len(loaded.test.images) == 52


def test_python_2_strings_are_read(tmp_path: Path) -> None:
    """The published index is a pickle of protocol 2 from Python 2, where strings are bytes."""
    part = {b"mods": [{b"from": [0], b"to": [1], b"to_str": b"remove circle"}], b"objects_img": [[], []]}
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    pickled = pickle.dumps(np.array({b"train": part}, dtype=object), protocol=2)
    pickled = python_2_strings(pickled)
    (tmp_path / INDEX).write_bytes(stream.getvalue() + pickled)
    _, _, queries = read_css(tmp_path, "train", view="2d", size=16)
    assert queries == [(0, "remove circle", 1)]


def python_2_strings(pickled: bytes) -> bytes:
    """The same pickle with each bytes object stored as a Python 2 str (opcode SHORT_BINSTRING)."""
    base: Any = pickle._Pickler  # type: ignore[attr-defined]  # the one in Python, whose opcodes can be changed

    def save(pickler: Any, value: bytes) -> None:
        pickler.write(b"U" + bytes([len(value)]) + value)
        pickler.memoize(value)

    stream = io.BytesIO()
    pickler = type("Rewritten", (base,), {"dispatch": {**base.dispatch, bytes: save}})(stream, protocol=2)
    pickler.dump(pickle.loads(pickled))
    return stream.getvalue()


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this ran",)


def test_an_index_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {"train": Hostile()})
    with pytest.raises(ValueError, match=r"asks for (builtins|__builtin__)\.print"):
        read_css(tmp_path, "train", view="2d", size=16)
    assert "this ran" not in capsys.readouterr().out


PART: dict[str, Any] = {"mods": [{"from": [0], "to": [1], "to_str": "x"}], "objects_img": [[], []]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1], "holds a list"),
        ({"test": PART}, "'train' of .* not of the form expected"),
        ({"train": {**PART, "objects_img": [[{"size": "small"}], []]}}, "not of the form expected"),
        ({"train": {**PART, "mods": []}}, "do not fit together"),
        ({"train": {**PART, "mods": [{"from": [0], "to": [2], "to_str": "x"}]}}, "do not fit together"),
        ({"train": {**PART, "labels": [1]}}, "do not fit together"),
    ],
)
def test_malformed_indices(tmp_path: Path, data: Any, message: str) -> None:
    array = np.empty((), dtype=object)
    array[()] = data
    np.save(tmp_path / INDEX, array, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        read_css(tmp_path, "train", view="2d", size=16)


def test_other_arrays_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_css(tmp_path, "train", view="2d", size=16)
    with pytest.raises(ValueError, match="view='4d' is unknown; allowed"):
        read_css(tmp_path, "train", view="4d", size=16)
    np.save(tmp_path / INDEX, np.zeros(3))
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        read_css(tmp_path, "train", view="2d", size=16)
    write(tmp_path, {"train": PART})
    with pytest.raises(FileNotFoundError, match="css_train_000000"):
        read_css(tmp_path, "train", view="3d", size=16)


THING: dict[str, Any] = {"size": "small", "color": "red", "shape": "circle", "pos": [0.5, 0.5]}
TEXT = {"to_str": "x"}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({**PART, "mods": [{"from": [0, 1], "to": [1], **TEXT}]}, "'x' leads from 2 images to 1"),
        ({**PART, "mods": [{"from": [0.5], "to": [1], **TEXT}]}, "'from' 0.5 is a float; allowed: an integer"),
        ({**PART, "mods": [{"from": [0], "to": [True], **TEXT}]}, "'to' True is a bool; allowed: an integer"),
        ({**PART, "mods": [{"from": ["0"], "to": [1], **TEXT}]}, "'from' '0' is a str; allowed: an integer"),
        ({**PART, "mods": [{"from": [0], "to": [1], "to_str": "  "}]}, "'to_str' is '  '; allowed: text"),
        ({**PART, "mods": [{"from": [0], "to": [1], "to_str": 3}]}, "'to_str' is 3; allowed: text"),
        ({**PART, "labels": [0.0, 1.5]}, "label 0.0 is a float; allowed: an integer"),
        ({**PART, "labels": [0, 2**70]}, "out of range; allowed: an integer of 64 bits"),
        ({**PART, "labels": 3}, "not of the form expected"),
        ({**PART, "objects_img": [[{**THING, "pos": [0.5, 1.5]}], []]}, r"'pos' \[0.5, 1.5\] is off the image"),
        ({**PART, "objects_img": [[{**THING, "pos": [float("nan"), 0]}], []]}, "off the image"),
        ({**PART, "objects_img": [[{**THING, "pos": [0.5]}], []]}, "off the image"),
        ({**PART, "objects_img": [[{**THING, "pos": ["a", "b"]}], []]}, "off the image"),
        ({**PART, "objects_img": [[{**THING, "color": "pink"}], []]}, "color 'pink' is unknown; allowed"),
        ({**PART, "objects_img": [[{**THING, "size": "huge"}], []]}, "size 'huge' is unknown; allowed"),
        ({**PART, "objects_img": [[{**THING, "shape": []}], []]}, r"shape \[\] is unknown; allowed"),
        ({**PART, "objects_img": [[{**THING, "color": []}], []]}, "not of the form expected"),
    ],
)
@pytest.mark.parametrize("view", ["2d", "3d"])
def test_every_fault_of_the_index_names_the_file(tmp_path: Path, part: Any, message: str, view: str) -> None:
    write(tmp_path, {"train": part})
    with pytest.raises(ValueError, match=message) as error:
        read_css(tmp_path, "train", view=view, size=16)
    assert str(error.value).startswith(str(tmp_path / INDEX))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.floats(0, 1, exclude_max=True), at=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_cut_or_damaged_index_is_one_error_that_names_it(tmp_path: Path, kept: float, at: float, value: int) -> None:
    write(tmp_path, {"train": {**PART, "objects_img": [[THING], []], "labels": [0, 1]}})
    whole = (tmp_path / INDEX).read_bytes()
    (tmp_path / INDEX).write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / INDEX))):
        read_css(tmp_path, "train", view="2d", size=16)
    place = int(at * len(whole))
    (tmp_path / INDEX).write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
    said = [str(tmp_path / INDEX)]
    try:
        read_css(tmp_path, "train", view="2d", size=16)
    except ValueError as error:
        said.append(str(error))
    assert all(text.startswith(said[0]) for text in said)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"train": PART})
    (tmp_path / "images").mkdir()
    Image.fromarray(np.full((4, 4), 5140, np.uint16)).save(tmp_path / "images" / "css_train_000000.png")
    (tmp_path / "images" / "css_train_000001.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"css_train_000001\.png: the image cannot be decoded"):
        read_css(tmp_path, "train", view="3d", size=16)
    Image.new("1", (4, 4), 1).save(tmp_path / "images" / "css_train_000001.png")
    images, _, _ = read_css(tmp_path, "train", view="3d", size=16)
    assert (images[0] == 20).all()  # 16 bits, scaled
    assert (images[1] == 255).all()
