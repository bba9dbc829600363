"""`shapes-voc`: boxes are exact, flags tell what can be seen, a scene depends on its number, a devkit is whole."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image
from scipy import ndimage

from tasks.detection import scenes
from tasks.detection.glyphs import CLASSES, FACES, SAMPLES, cover, outline, winding
from tasks.detection.scenes import FOLDER, PARTS, Draft, Thing, draft, generate, scene, shapes_voc, visible
from tasks.detection.voc import read_image, read_voc


@pytest.fixture(name="drafts", scope="module")
def _drafts() -> list[Draft]:
    return [draft(0, "train", index) for index in range(150)]


def box_by_hand(ink: np.ndarray) -> tuple[int, int, int, int]:
    """Pixel by pixel."""
    height, width = ink.shape
    at = [(x, y) for y in range(height) for x in range(width) if ink[y, x] > 0]
    xs, ys = [x for x, _ in at], [y for _, y in at]
    return min(xs), min(ys), max(xs) + 1, max(ys) + 1


def test_a_box_is_what_its_thing_changes_in_the_picture(drafts: list[Draft]) -> None:
    for one in drafts[:15]:
        boxes = scene(one, name="x").boxes
        assert boxes.dtype == np.float32
        for thing, box in zip(one.things, boxes, strict=True):
            # every thing on its own: on a background it cannot be mistaken for
            flat = np.full(one.background.shape, -1000, dtype=np.float32)
            changed = (thing.paint(flat) != flat).any(axis=2)
            assert tuple(box) == box_by_hand(changed) == box_by_hand(thing.ink)


def test_the_picture_has_the_things_inside_their_boxes_and_nothing_outside(drafts: list[Draft]) -> None:
    for one in drafts:
        still = Draft(one.background, one.things, 0.0, np.zeros_like(one.noise))
        painted = scene(still, name="x")
        changed = (painted.image != one.background.round().astype(np.uint8)).any(axis=2)
        inside = np.zeros_like(changed)
        for x1, y1, x2, y2 in painted.boxes.astype(int):
            inside[y1:y2, x1:x2] = True
        assert not (changed & ~inside).any()
        # the last is hidden by nothing: its ink shows on all four sides, or it is cut off by the image's edge
        x1, y1, x2, y2 = painted.boxes[-1].astype(int)
        columns, rows = (
            np.flatnonzero(changed[y1:y2, x1:x2].any(axis=0)),
            np.flatnonzero(changed[y1:y2, x1:x2].any(axis=1)),
        )
        assert columns[0] <= 1
        assert rows[0] <= 1
        assert columns[-1] >= x2 - x1 - 2
        assert rows[-1] >= y2 - y1 - 2


def test_what_is_visible_agrees_with_counting_the_topmost_things(drafts: list[Draft]) -> None:
    for one in drafts:
        top = np.full(one.background.shape[:2], -1)
        for number, thing in enumerate(one.things):
            top[thing.ink > 127] = number
        for number, thing in enumerate(one.things):
            share = (top == number).sum() / (thing.ink > 127).sum()
            assert visible(one.things)[number] == pytest.approx(share, abs=0.12)  # edges are soft


def thing(label: int, ink: np.ndarray) -> Thing:
    return Thing(label, ink.astype(np.uint8), (255, 0, 0), 1.0)


def test_visibility_and_flags_by_hand() -> None:
    below, above = np.zeros((10, 20)), np.zeros((10, 20))
    below[:, :10] = 255
    above[:, 3:13] = 255  # leaves three tenths
    half = np.zeros((10, 20))
    half[:5, 13:] = 128
    things = (thing(0, below), thing(1, above), thing(2, half))
    np.testing.assert_allclose(visible(things), [0.3, 1.0, 1.0])
    painted = scene(Draft(np.zeros((10, 20, 3), np.float32), things, 0.0, np.zeros((10, 20, 1), np.float32)), name="x")
    assert painted.difficult.tolist() == [True, False, False]
    assert painted.boxes.tolist() == [[0, 0, 10, 10], [3, 0, 13, 10], [13, 0, 20, 5]]


def test_scenes_are_as_promised(drafts: list[Draft]) -> None:
    labels, difficult, lengths = [], [], []
    for one in drafts:
        height, width = one.background.shape[:2]
        assert 112 <= width <= 176
        assert 112 <= height <= 160
        assert 1 <= len(one.things) <= 5
        assert visible(one.things).min() >= 0.15
        painted = scene(one, name="x")
        assert painted.image.shape == (height, width, 3)
        assert painted.image.dtype == np.uint8
        x1, y1, x2, y2 = painted.boxes.T
        assert (x1 >= 0).all()
        assert (y1 >= 0).all()
        assert (x2 <= width).all()
        assert (y2 <= height).all()
        labels += painted.labels.tolist()
        difficult += painted.difficult.tolist()
        lengths += (np.maximum(x2 - x1, y2 - y1) / min(width, height)).tolist()
    assert set(np.bincount([len(one.things) for one in drafts]).nonzero()[0]) == {1, 2, 3, 4, 5}
    assert np.bincount(labels, minlength=len(CLASSES)).min() > 0.6 * len(labels) / len(CLASSES)
    assert 0 < np.mean(difficult) < 0.06
    assert min(lengths) > 0.1  # 0.14, less what lies outside
    assert 0.55 < max(lengths) < 0.62
    assert np.mean(np.array(lengths) < 0.29) == pytest.approx(0.5, abs=0.1)  # log-uniform: the median is 0.29


def test_at_least_four_fifths_of_a_things_ink_lie_in_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    masks: list[np.ndarray] = []

    def spy(*arguments: Any, **options: Any) -> np.ndarray:
        masks.append(cover(*arguments, **options))
        return masks[-1]

    monkeypatch.setattr(scenes, "cover", spy)
    cut = 0
    for index in range(60):
        masks.clear()
        for one in draft(1, "train", index).things:
            x1, y1, x2, y2 = one.box
            shown = one.ink[y1:y2, x1:x2]
            high, wide = shown.shape
            wholes = [
                mask
                for mask in masks
                if high <= mask.shape[0]
                and wide <= mask.shape[1]
                and shown.tobytes()
                in {
                    mask[rows, columns].tobytes()
                    for rows in (slice(high), slice(mask.shape[0] - high, None))
                    for columns in (slice(wide), slice(mask.shape[1] - wide, None))
                }
            ]
            assert len(wholes) == 1
            share = shown.sum(dtype=int) / wholes[0].sum(dtype=int)
            assert share >= 0.8
            cut += share < 1
    assert cut > 10


def test_things_stand_out(drafts: list[Draft]) -> None:
    """Where a thing is whole, most of its pixels are far from what lay beneath."""
    for one in drafts:
        canvas = one.background
        for placed in one.things:
            distances = np.sqrt(((canvas[placed.ink > 127] - np.array(placed.color)) ** 2).sum(axis=1))
            assert np.quantile(distances, 0.25) > 40
            canvas = placed.paint(canvas)


def same(first: Any, second: Any) -> bool:
    return all(
        np.array_equal(getattr(first, field), getattr(second, field))
        for field in ("name", "image", "boxes", "labels", "difficult")
    )


def test_a_scene_depends_on_seed_part_and_number_alone() -> None:
    some, more = list(generate(3, 7, "val")), list(generate(5, 7, "val"))
    assert all(same(first, second) for first, second in zip(some, more[:3], strict=True))
    assert same(more[4], scene(draft(7, "val", 4), name="val_000004"))
    others = [draft(8, "val", 4), draft(7, "test", 4), draft(7, "val", 3)]
    for other in others:
        image = scene(other, name="x").image
        assert image.shape != more[4].image.shape or (image != more[4].image).any()


GOLDEN = [
    (
        [2, 2, 1, 4, 0],
        [True, False, False, False, False],
        [[34, 69, 96, 125], [62, 20, 120, 76], [22, 88, 65, 131], [39, 60, 101, 119], [0, 45, 58, 107]],
        (137, 142),
        [82.8, 189.3, 85.3],
    ),
    (
        [0, 2, 0, 1],
        [False] * 4,
        [[44, 37, 65, 58], [92, 71, 130, 114], [12, 9, 75, 73], [14, 50, 74, 109]],
        (119, 130),
        [37.8, 59.5, 39.8],
    ),
    (
        [5, 1, 2, 4, 1],
        [False] * 5,
        [[74, 12, 120, 47], [52, 67, 81, 99], [62, 104, 86, 126], [18, 81, 52, 117], [65, 0, 88, 23]],
        (126, 122),
        [110.3, 94.4, 118.8],
    ),
]
"""Labels, difficult, boxes, (height, width), and the mean of red, green and blue."""


def test_a_change_of_the_scenes_asks_for_a_new_version() -> None:
    """What version 1 draws. If this fails on purpose, raise SCENES_VERSION: cached devkits carry it in their name."""
    assert scenes.SCENES_VERSION == 1
    for one, (labels, difficult, boxes, size, colour) in zip(generate(3, 0, "train"), GOLDEN, strict=True):
        assert (one.labels.tolist(), one.difficult.tolist()) == (labels, difficult)
        assert (one.boxes.tolist(), one.image.shape[:2]) == (boxes, size)
        np.testing.assert_allclose(one.image.mean(axis=(0, 1)), colour, atol=0.5)


def test_parts_have_backgrounds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs that are red where "train" may look, green for "val", blue for "test": none sees another's colour."""
    photograph = np.zeros((427, 640, 3), dtype=np.uint8)
    photograph[:, :352, 0] = photograph[:213, 352:, 1] = photograph[213:, 352:, 2] = 255

    class Sample:
        images = (photograph, photograph)

    monkeypatch.setattr(scenes, "load_sample_images", Sample)
    scenes._photographs.cache_clear()
    try:
        for channel, part in enumerate(PARTS):
            photographic = 0
            for index in range(50):
                background = draft(0, part, index).background
                if (
                    len(np.unique(background[::9, ::9].reshape(-1, 3), axis=0)) < 20
                ):  # textures have hundreds of colours
                    assert (background.argmax(axis=2) == channel).all()
                    photographic += 1
            assert 15 <= photographic <= 35
    finally:
        scenes._photographs.cache_clear()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generate(-1, 0, "train"), "count=-1"),
        (lambda: draft(-1, "train", 0), "seed=-1"),
        (lambda: draft(0, "validation", 0), "part='validation' is unknown; allowed"),
        (lambda: shapes_voc("nowhere", train=0), "train=0"),
        (lambda: shapes_voc("nowhere", seed=-3), "seed=-3"),
    ],
)
def test_bad_arguments(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# Outlines


@pytest.mark.parametrize("name", CLASSES)
def test_ink_agrees_with_asking_every_sample(name: str) -> None:
    """Against matplotlib's test of points: a sample is ink if an odd number of polygons has it inside."""
    rng = np.random.default_rng(3)
    for number in range(6):
        ring = 0.6 if number % 2 and name in CLASSES[:4] else None
        polygons, turn, stretch = outline(name, FACES[2 * number], ring), rng.uniform(-3, 3), rng.uniform(0.7, 1.4)
        length = rng.uniform(18, 60)
        ink = cover(polygons, turn=turn, stretch=stretch, length=length)
        turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        placed = [polygon @ (turned @ np.diag([stretch**0.5, stretch**-0.5])).T for polygon in polygons]
        low, high = np.concatenate(placed).min(axis=0), np.concatenate(placed).max(axis=0)
        width, height = np.ceil(length * (high - low) / (high - low).max()).astype(int)
        ys, xs = (np.mgrid[0 : SAMPLES * height, 0 : SAMPLES * width] + 0.5) / SAMPLES
        points = np.stack([xs.ravel(), ys.ravel()], axis=1) * (high - low).max() / length + low
        inside = [Outline(polygon).contains_points(points) for polygon in placed]
        share = np.logical_xor.reduce(inside).reshape(height, SAMPLES, width, SAMPLES).mean(axis=(1, 3))
        share = share[share.any(axis=1)][:, share.any(axis=0)]
        assert ink.shape == share.shape
        assert np.ceil(length) - max(ink.shape) in (0, 1)  # a sharp end may slip between the samples
        assert np.abs(ink / 255 - share).max() < 0.07  # one sample of 16 may lie on an edge
        assert np.abs(ink / 255 - share).mean() < 1e-3


def test_overlapping_outlines_are_one_thing() -> None:
    square = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
    around = winding([square, square + 2], 6, 6)
    assert (around != 0).sum() == 16 + 16 - 4
    assert set(around[2:4, 2:4].ravel()) == {2 * around[0, 0]}


@pytest.mark.parametrize("face", FACES)
def test_an_eight_has_two_holes_and_a_k_none(face: str) -> None:
    for name, holes in (("digit-8", 2), ("letter-k", 0)):
        ink = np.pad(cover(outline(name, face), turn=0.0, stretch=1.0, length=80.0) > 127, 1)
        assert ndimage.label(ink)[1] == 1
        assert ndimage.label(~ink)[1] == holes + 1


def test_every_face_is_read_by_the_other_faces() -> None:
    def upright(name: str, face: str) -> np.ndarray:
        ink = Image.fromarray(cover(outline(name, face), turn=0.0, stretch=1.0, length=60.0))
        return np.asarray(ink.resize((24, 24)), dtype=float).ravel()

    masters = {name: np.stack([upright(name, face) for face in FACES]) for name in ("letter-k", "digit-8")}
    for name, other in (("letter-k", "digit-8"), ("digit-8", "letter-k")):
        for number, master in enumerate(masters[name]):
            own = np.delete(masters[name], number, axis=0)
            assert np.linalg.norm(own - master, axis=1).min() < np.linalg.norm(masters[other] - master, axis=1).min()


# The devkit on disk

OTHERS: tuple[dict[str, int], ...] = ({"train": 2}, {"validation": 2}, {"test": 2}, {"seed": 1})


def test_the_devkit_holds_the_scenes(tmp_path: Path) -> None:
    root = shapes_voc(tmp_path, train=4, validation=2, test=3, seed=5)
    for part, count in zip(PARTS, (4, 2, 3), strict=True):
        read = read_voc(root, [(FOLDER, part)], classes=CLASSES)
        for record, one in zip(read.records, generate(count, 5, part), strict=True):
            np.testing.assert_array_equal(record.boxes, one.boxes)
            np.testing.assert_array_equal(record.labels, one.labels)
            np.testing.assert_array_equal(record.difficult, one.difficult)
            assert np.abs(read_image(record.path).astype(int) - one.image).mean() < 8  # JPEG


def test_a_devkit_is_written_once_and_each_choice_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shapes_voc(tmp_path, train=1, validation=1, test=1)
    others = [shapes_voc(tmp_path, **{"train": 1, "validation": 1, "test": 1, **other}) for other in OTHERS]
    assert len({first, *others}) == 5
    monkeypatch.setattr(scenes, "SCENES_VERSION", 2)
    assert shapes_voc(tmp_path, train=1, validation=1, test=1) != first
    monkeypatch.undo()
    monkeypatch.setattr(scenes, "write_voc", None)
    assert shapes_voc(tmp_path, train=1, validation=1, test=1) == first


def test_the_cache_folder_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert shapes_voc(train=1, validation=1, test=1).parent == tmp_path / "cache" / "mtlgrad"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert shapes_voc(train=1, validation=1, test=1).parent == tmp_path / "home" / ".cache" / "mtlgrad"


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = scenes.write_voc

    def interrupted(folder: Path, split: str, images: Any, **options: Any) -> None:
        write(folder, split, images, **options)
        if split == "val":
            raise KeyboardInterrupt

    monkeypatch.setattr(scenes, "write_voc", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shapes_voc(tmp_path, train=1, validation=1, test=1)
    assert list(tmp_path.iterdir()) == []


def test_who_comes_second_takes_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def overtaken(source: Path, target: Path) -> None:
        (target / FOLDER).mkdir(parents=True)
        rename(source, target)

    monkeypatch.setattr(os, "rename", overtaken)
    root = shapes_voc(tmp_path, train=1, validation=1, test=1)
    assert list(tmp_path.iterdir()) == [root]
    assert list((root / FOLDER).iterdir()) == []


def test_a_failure_to_move_is_no_devkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: Path, target: Path) -> None:
        raise PermissionError(f"{target} is not yours")

    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(PermissionError, match="not yours"):
        shapes_voc(tmp_path, train=1, validation=1, test=1)
    assert list(tmp_path.iterdir()) == []


def test_writers_at_the_same_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All find the place empty and write; one is first, and the others take its devkit."""
    writers, write = 3, scenes.write_voc
    barrier = threading.Barrier(writers)

    def together(folder: Path, split: str, images: Any, **options: Any) -> None:
        barrier.wait(timeout=60)
        write(folder, split, images, **options)

    monkeypatch.setattr(scenes, "write_voc", together)
    with ThreadPoolExecutor(writers) as pool:
        roots = list(pool.map(lambda _: shapes_voc(tmp_path, train=6, validation=2, test=2), range(writers)))
    assert list(tmp_path.iterdir()) == [roots[0]]
    assert set(roots) == {roots[0]}
    assert len(read_voc(roots[0], [(FOLDER, part) for part in PARTS], classes=CLASSES)) == 10
