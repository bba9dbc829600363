"""Pictures of detections, pixel by pixel where it matters: lines where boxes are, colours that say what is right."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFont

from tasks.detection import exhibits
from tasks.detection.exhibits import LEGEND, NEITHER, RIGHT, WRONG, picture
from tasks.detection.verdicts import Detections
from tests.tasks.detection.seen import found, truth

CLASSES = ["cat", "dog", "cow"]
GREY = np.full((64, 64, 3), 90, dtype=np.uint8)
NOTHING = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))


def pixels(shown: dict[str, str]) -> np.ndarray:
    assert set(shown) == {"caption", "png"}
    image = Image.open(io.BytesIO(base64.b64decode(shown["png"], validate=True)))
    assert image.format == "PNG"
    assert image.mode == "RGB"
    return np.asarray(image)


def share(line: np.ndarray, colour: Sequence[int]) -> float:
    return float((line == np.array(colour)).all(axis=-1).mean())


@pytest.mark.parametrize(
    ("size", "wanted"), [((64, 64), (256, 256)), ((48, 96), (128, 256)), ((500, 333), (256, 170)), ((1, 300), (1, 256))]
)
def test_size(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    shown = picture(np.zeros((*size, 3), np.uint8), truth=truth(), found=NOTHING, classes=CLASSES)
    assert pixels(shown).shape == (*wanted, 3)
    assert shown["caption"] == "0 of 0 objects found, 0 wrong"


def test_true_boxes_are_dashed_in_white_on_black() -> None:
    """[16, 8, 40, 56] of 64 is [64, 32, 160, 224] of 256: first and last pixels 64, 32 and 159, 223."""
    canvas = pixels(picture(GREY, truth=truth((16, 8, 40, 56)), found=NOTHING, classes=CLASSES))
    for line in (canvas[32, 64:160], canvas[223, 64:160], canvas[32:224, 64], canvas[32:224, 159]):
        assert share(line, (255, 255, 255)) == pytest.approx(0.5, abs=0.05)
        assert share(line, (0, 0, 0)) == pytest.approx(0.5, abs=0.05)
    untouched = np.ones((256, 256), bool)
    untouched[32:224, 64:160] = False
    untouched[33:223, 65:159] = True
    assert (canvas[untouched] == 90).all()


@pytest.mark.parametrize(
    ("label", "difficult", "colour", "caption"),
    [
        (0, (), RIGHT, "1 of 1 objects found, 0 wrong"),
        (1, (), WRONG, "0 of 1 objects found, 1 wrong"),
        (0, (0,), NEITHER, "0 of 0 objects found, 0 wrong"),
    ],
)
def test_the_colour_is_the_verdict(label: int, difficult: tuple[int, ...], colour: Any, caption: str) -> None:
    some = found((16, 16, 40, 54), scores=[0.8], labels=[label])  # [64, 64, 160, 216] in the picture
    shown = picture(GREY, truth=truth((16, 16, 40, 56), difficult=difficult), found=some, classes=CLASSES)
    assert shown["caption"] == caption
    canvas = pixels(shown)
    for line in (canvas[215, 66:158], canvas[66:214, 63], canvas[66:214, 160]):  # the top has a tag on it
        wanted = 0.5 if colour == WRONG else 1  # wrong ones are dashed: told apart without seeing colours
        assert share(line, colour) == pytest.approx(wanted, abs=0.05)
        assert share(line, (0, 0, 0)) == pytest.approx(1 - wanted, abs=0.05)
    for other in {RIGHT, WRONG, NEITHER} - {colour}:
        assert share(canvas, other) == 0


def test_signs_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sign says the verdict, too; a tag bears the name and the score, the surest tag first."""
    told: list[str] = []
    whole = exhibits._tagged
    monkeypatch.setattr(
        exhibits,
        "_tagged",
        lambda canvas, boxes, texts, *rest: told.extend(texts) or whole(canvas, boxes, texts, *rest),
    )
    objects = truth((2, 2, 20, 20), (30, 30, 60, 60), labels=[1, 2], difficult=[1])
    some = found(
        (2, 2, 20, 20),
        (30, 30, 60, 60),
        (3, 2, 20, 20),
        (2, 2, 20, 20),
        scores=[0.7, 0.55, 0.984, 0.4],
        labels=[1, 2, 1, 1],
    )
    shown = picture(GREY, truth=objects, found=some, classes=CLASSES)
    assert told == ["✓ dog 0.98", "✗ dog 0.70", "○ cow 0.55"]
    assert shown["caption"] == "1 of 1 objects found, 1 wrong"
    for sign in "✓✗○":
        assert sign in LEGEND


def test_the_font_has_the_signs() -> None:
    """A sign that the font lacks comes out as its empty box, as a code point without a character does."""
    font = exhibits._font()
    assert isinstance(font, ImageFont.FreeTypeFont)
    lacking = font.getmask("\U000f0000").getbbox(), bytes(font.getmask("\U000f0000"))
    for sign in "✓✗○":
        assert (font.getmask(sign).getbbox(), bytes(font.getmask(sign))) != lacking


@pytest.mark.parametrize("background", [0, 90, 255])
def test_tags_are_black_on_the_colour(background: int) -> None:
    """Just above the box, at its left; whatever the image, text is dark on bright with a contrast of 7 or more."""
    image = np.full((64, 64, 3), background, np.uint8)
    some = found((16, 16, 60, 60), scores=[0.8], labels=[2])
    canvas = pixels(picture(image, truth=truth(), found=some, classes=CLASSES))
    tag = canvas[51:64, 64:126][1:-1, 1:-1]
    assert 0.5 < share(tag, WRONG) < 0.9
    assert (tag.max(axis=-1) < 128).mean() > 0.08  # strokes, blended at their edges
    for colour in (RIGHT, WRONG, NEITHER):
        linear = [((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert (luminance + 0.05) / 0.05 >= 7


def tags(monkeypatch: pytest.MonkeyPatch, some: Detections) -> list[tuple[int, int, int, int]]:
    placed: list[tuple[int, int, int, int]] = []
    rectangle = exhibits.ImageDraw.ImageDraw.rectangle

    def spy(self: Any, place: Any, **options: Any) -> None:
        placed.append(place)
        rectangle(self, place, **options)

    monkeypatch.setattr(exhibits.ImageDraw.ImageDraw, "rectangle", spy)
    picture(GREY, truth=truth(), found=some, classes=CLASSES)
    return placed


def test_tags_stay_in_the_picture_and_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes at all borders and three of the same place: every tag is whole, and none covers another."""
    boxes = [(0, 0, 9, 9), (55, 0, 64, 9), (0, 55, 9, 64), (55, 55, 64, 64), *[(24, 24, 40, 40)] * 3]
    placed = tags(monkeypatch, found(*boxes, scores=[0.9] * 7, labels=[0] * 7))
    assert len(placed) == 7
    covered = np.zeros((256, 256), int)
    for left, top, right, bottom in placed:
        assert left >= 0
        assert top >= 0
        covered[top : bottom + 1, left : right + 1] += 1
        assert right <= 255
        assert bottom <= 255
    assert covered.max() == 1


def test_more_tags_than_room_are_still_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [(24, 24, 40, 40)] * 12
    assert len(tags(monkeypatch, found(*boxes, scores=[0.9] * 12, labels=[0] * 12))) == 12


def test_only_sure_detections_are_shown() -> None:
    some = found((2, 2, 20, 20), (30, 30, 60, 60), scores=[0.5, 0.49], labels=[0, 0])
    objects = truth((2, 2, 20, 20), (30, 30, 60, 60))
    captions = [
        picture(GREY, truth=objects, found=some, classes=CLASSES, at_least=least)["caption"]
        for least in (0.6, 0.5, 0.1)
    ]
    assert captions == [f"{count} of 2 objects found, 0 wrong" for count in (0, 1, 2)]


def test_the_truth_shows_through_a_perfect_detection() -> None:
    some = found((16, 16, 40, 56), scores=[1.0], labels=[0])
    canvas = pixels(picture(GREY, truth=truth((16, 16, 40, 56)), found=some, classes=CLASSES))
    assert share(canvas[66:222, 64], (255, 255, 255)) == pytest.approx(0.5, abs=0.05)
    assert share(canvas[66:222, 63], RIGHT) == 1
    assert share(canvas[66:222, 65], RIGHT) == 1


def test_the_surest_is_on_top() -> None:
    some = found(*[(16, 16, 40, 56)] * 2, scores=[0.6, 0.9], labels=[1, 0])
    canvas = pixels(picture(GREY, truth=truth((16, 16, 40, 56)), found=some, classes=CLASSES))
    assert share(canvas[66:214, 63], RIGHT) == 1


def test_boxes_over_the_edge() -> None:
    """Boxes that leave the image, or lie outside, are drawn at its border; the image given is left as it was."""
    image = GREY.copy()
    objects = truth((-10, -10, 30, 30), (70, 70, 90, 90), (5, 5, 5, 5))
    some = found((40, 40, 100, 100), (-9, 60, -3, 80), scores=[0.9, 0.8], labels=[0, 0])
    canvas = pixels(picture(image, truth=objects, found=some, classes=CLASSES))
    assert share(canvas[0, :119], (255, 255, 255)) == pytest.approx(0.5, abs=0.05)
    assert share(canvas[161:, 255], WRONG) > 0.4
    assert (image == GREY).all()


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"image": GREY / 255}, ValueError, r"image is float64 \[64, 64, 3\]; allowed: uint8 \[height, width, 3\]"),
        ({"image": GREY[..., 0]}, ValueError, r"image is uint8 \[64, 64\]"),
        ({"image": GREY[:0]}, ValueError, r"image is uint8 \[0, 64, 3\]"),
        ({"classes": ["cat"]}, ValueError, r"detections\[0\].labels has 1; allowed: 0 to 0"),
        ({"at_least": 1.5}, ValueError, r"at_least=1.5 is out of range"),
        ({"at_least": "0.5"}, TypeError, r"at_least='0.5' is a str"),
    ],
)
def test_arguments_that_are_wrong(changes: dict[str, Any], error: type[Exception], says: str) -> None:
    some = found((2, 2, 20, 20), scores=[0.9], labels=[1])
    good: dict[str, Any] = {"image": GREY, "truth": truth(), "found": some, "classes": CLASSES}
    picture(**good)
    with pytest.raises(error, match=says):
        picture(**(good | changes))
