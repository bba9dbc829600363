"""Images against areas and edges worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.retrieval.render import RGB, Placed, placed, render
from tasks.retrieval.scenes import COLORS, SHAPES, SIZES, Thing, generate


def covered(image: np.ndarray, color: str) -> np.ndarray:
    """How much of each pixel is painted, from the channel in which the colour is furthest from white."""
    channel = int(np.argmin(RGB[color]))
    return (255 - image[channel].astype(float)) / (255 - RGB[color][channel])


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_area_and_outline(shape: str, name: str, side: int) -> None:
    image = render([Placed(Thing(name, "blue", shape), 0.5, 0.5)], size=side)
    cover = covered(image, "blue")
    half = {"small": 4, "large": 8}[name] * side / 64
    area = {"rectangle": 4, "circle": 2, "triangle": 2}[shape] * half**2
    assert cover.sum() == pytest.approx(area, rel=0.15)
    rows, columns = np.nonzero(cover > 0)
    assert rows.min() == columns.min() == side / 2 - half
    assert rows.max() == columns.max() == side / 2 + half - 1
    np.testing.assert_allclose(cover, cover[:, ::-1], atol=0.02)  # mirror image of itself
    widths = cover.sum(axis=1)[rows.min() : rows.max() + 1]
    if shape == "triangle":
        assert (np.diff(widths) > 0).all()  # apex up
    if shape == "circle":
        assert widths.argmax() in (len(widths) // 2 - 1, len(widths) // 2)
    if shape == "rectangle":
        np.testing.assert_allclose(widths, 2 * half, atol=0.05)


def test_a_scene_is_its_things_in_their_cells() -> None:
    for scene in generate("train", base=30, modifications=1, seed=5).scenes:
        image = render(placed(scene), size=48)  # cells of 16 pixels
        for cell, thing in enumerate(scene):
            row, column = 16 * (cell // 3), 16 * (cell % 3)
            patch = image[:, row : row + 16, column : column + 16]
            alone = np.full_like(patch, 255) if thing is None else render([Placed(thing, 0.5, 0.5)], size=48)
            expected = alone if thing is None else alone[:, 16:32, 16:32]
            np.testing.assert_array_equal(patch, expected)


@pytest.mark.parametrize("side", [16, 32])
def test_different_things_look_different(side: int) -> None:
    things = [Thing(size, color, shape) for size in SIZES for color in COLORS for shape in SHAPES]
    images = {render([Placed(thing, 1 / 6, 5 / 6)], size=side).tobytes() for thing in things}
    assert len(images) == len(things)


def test_later_things_cover_earlier_ones() -> None:
    back, front = (Placed(Thing("large", color, "rectangle"), 0.5, 0.5) for color in ("red", "cyan"))
    np.testing.assert_array_equal(render([back, front], size=32), render([front], size=32))


@pytest.mark.parametrize(
    ("thing", "side", "message"),
    [
        (Thing("huge", "red", "circle"), 32, "size='huge'"),
        (Thing("small", "pink", "circle"), 32, "color='pink'"),
        (Thing("small", "red", "star"), 32, "shape='star'"),
        (Thing("small", "red", "circle"), 8, "size=8"),
    ],
)
def test_errors(thing: Thing, side: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"{message} .*allowed"):
        render([Placed(thing, 0.5, 0.5)], size=side)
