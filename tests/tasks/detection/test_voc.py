"""The devkit layout: files written here by hand are read as VOC means them, and every defect names its file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tasks.detection.voc import VOC_CLASSES, Annotated, VocError, read_image, read_voc, write_voc

ONE = [("VOC2007", "trainval")]

PERSON = """<object><name>person</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
<bndbox><xmin>3</xmin><ymin>2</ymin><xmax>20</xmax><ymax>15</ymax></bndbox>
<part><name>head</name><bndbox><xmin>4</xmin><ymin>2</ymin><xmax>9</xmax><ymax>6</ymax></bndbox></part></object>"""
CAR = """<object><bndbox><ymax>10</ymax><xmax>30</xmax><ymin>1</ymin><xmin>1</xmin></bndbox>
<difficult>1</difficult><name>car</name></object>"""
DOG = """<object><name>dog</name>
<bndbox><xmin>45.70</xmin><ymin>12.5</ymin><xmax>64</xmax><ymax>48</ymax></bndbox></object>"""


def xml(*objects: str, width: str = "64", height: str = "48") -> str:
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><folder>VOC</folder><filename>x.jpg</filename>{size}{''.join(objects)}</annotation>"


def box(x1: object, y1: object, x2: object, y2: object, name: str = "cat") -> str:
    corners = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    return f"<object><name>{name}</name><difficult>0</difficult><bndbox>{corners}</bndbox></object>"


def put(root: Path, year: str, name: str, annotation: str, *, size: tuple[int, int] = (64, 48)) -> None:
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / year / part).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / year / "JPEGImages" / f"{name}.jpg")
    (root / year / "Annotations" / f"{name}.xml").write_text(annotation)


def lists(root: Path, year: str, split: str, text: str) -> None:
    (root / year / "ImageSets" / "Main" / f"{split}.txt").write_text(text)


@pytest.fixture(name="devkit")
def _devkit(tmp_path: Path) -> Path:
    put(tmp_path, "VOC2007", "000005", xml(PERSON, CAR))
    put(tmp_path, "VOC2007", "000007", xml(box(1, 1, 64, 48)))
    put(tmp_path, "VOC2012", "2008_000002", xml(DOG))
    lists(tmp_path, "VOC2007", "trainval", "000005\n000007\n")
    lists(tmp_path, "VOC2012", "trainval", "2008_000002\n")
    return tmp_path


def test_07_and_12_together_in_continuous_coordinates(devkit: Path) -> None:
    read = read_voc(devkit, [("VOC2007", "trainval"), ("VOC2012", "trainval")])
    assert [record.name for record in read.records] == ["000005", "000007", "2008_000002"]
    assert read.records[2].path == devkit / "VOC2012" / "JPEGImages" / "2008_000002.jpg"
    first = read.records[0]
    assert first.size == (64, 48)
    assert first.boxes.tolist() == [[2, 1, 20, 15], [0, 0, 30, 10]]
    assert [VOC_CLASSES[label] for label in first.labels] == ["person", "car"]
    assert first.difficult.tolist() == [False, True]
    assert (first.boxes.dtype, first.labels.dtype, first.difficult.dtype) == (np.float32, np.int64, np.bool_)
    assert read.records[1].boxes.tolist() == [[0, 0, 64, 48]]
    np.testing.assert_allclose(read.records[2].boxes, [[44.7, 11.5, 64, 48]])
    assert read.records[2].difficult.tolist() == [False]
    assert len(read.skipped) == 0


def test_the_sets_of_one_class(devkit: Path) -> None:
    lists(devkit, "VOC2007", "car_trainval", "000005  1\n000007 -1\n\n")
    assert [one.name for one in read_voc(devkit, [("VOC2007", "car_trainval")]).records] == ["000005"]
    lists(devkit, "VOC2007", "car_trainval", "000005  0\n000007 -1\n")
    assert [one.name for one in read_voc(devkit, [("VOC2007", "car_trainval")]).records] == ["000005"]


def test_a_box_of_one_pixel_is_a_box(devkit: Path) -> None:
    put(devkit, "VOC2007", "000007", xml(box(64, 48, 64, 48)))
    assert read_voc(devkit, ONE).records[1].boxes.tolist() == [[63, 47, 64, 48]]


def annotate(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "Annotations" / "000007.xml").write_text(text)


def truncate(folder: Path) -> None:
    path = folder / "JPEGImages" / "000007.jpg"
    path.write_bytes(path.read_bytes()[:-200])


DEFECTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no annotation": (lambda folder: (folder / "Annotations/000007.xml").unlink(), r"000007\.xml: no such annotation"),
    "no image": (lambda folder: (folder / "JPEGImages/000007.jpg").unlink(), r"000007\.jpg: no such image"),
    "truncated": (truncate, r"000007\.jpg: .*cannot be decoded .*truncated"),
    "not an image": (
        lambda folder: (folder / "JPEGImages/000007.jpg").write_bytes(b"GIF89a, or so it says"),
        r"000007\.jpg: .*cannot be decoded",
    ),
    "floating point": (
        lambda folder: Image.fromarray(np.full((48, 64), 3000, np.float32)).save(
            folder / "JPEGImages/000007.jpg", format="TIFF"
        ),
        r"000007\.jpg: the image is of mode 'F'; allowed: 8 bits a channel",
    ),
    "empty file": (lambda folder: (folder / "JPEGImages/000007.jpg").write_bytes(b""), r"000007\.jpg: .*decoded"),
    "malformed": (annotate(xml(PERSON)[:-5]), r"000007\.xml: not well-formed XML"),
    "binary": (annotate("\x00\x01"), r"000007\.xml: not well-formed XML"),
    "encoding": (annotate('<?xml version="1.0" encoding="klingon"?><a/>'), r"000007\.xml: not well-formed XML"),
    "multibyte": (annotate('<?xml version="1.0" encoding="utf-7"?><a/>'), r"000007\.xml: not well-formed XML"),
    "no size": (annotate("<annotation></annotation>"), r"000007\.xml: <annotation> has no <size><width>"),
    "other size": (
        annotate(xml(PERSON, width="48", height="64")),
        r"000007\.xml: <size> is 48 x 64, but .* is 64 x 48",
    ),
    "half a pixel": (annotate(xml(PERSON, width="64.5")), r"000007\.xml: <size> is 64.5 x 48, but"),
    "size nan": (annotate(xml(PERSON, width="nan")), r"000007\.xml: <size> is nan x 48, but"),
    "no object": (annotate(xml()), r"000007\.xml: no object"),
    "no name": (annotate(xml("<object></object>")), r"000007\.xml: <object> has no <name>"),
    "no corner": (annotate(xml(PERSON.replace("<xmax>20</xmax>", ""))), r"000007\.xml: .* no <bndbox><xmax>"),
    "no number": (annotate(xml(box("three", 1, 2, 2))), r"000007\.xml: <bndbox><xmin> is 'three'; allowed: a number"),
    "class": (annotate(xml(box(1, 1, 2, 2, "unicorn"))), r"000007\.xml: class 'unicorn' is unknown; .*'tvmonitor'"),
    "flag": (
        annotate(xml(CAR.replace(">1</diff", ">yes</diff"))),
        r"000007\.xml: <difficult> is 'yes'; allowed: 0 or 1",
    ),
    "left": (annotate(xml(box(0, 1, 2, 2))), r"000007\.xml: box .* = \(0\.0, 1\.0, 2\.0, 2\.0\) .* 1 <= xmin"),
    "top": (annotate(xml(box(1, 0.9, 2, 2))), r"000007\.xml: box"),
    "right": (annotate(xml(PERSON, box(1, 1, 65, 2))), r"000007\.xml: box .* xmax <= 64"),
    "bottom": (annotate(xml(box(1, 1, 2, 48.5))), r"000007\.xml: box .* ymax <= 48"),
    "inverted": (annotate(xml(box(9, 1, 8, 2))), r"000007\.xml: box .* is inverted or leaves"),
    "upside down": (annotate(xml(box(1, 7, 2, 3))), r"000007\.xml: box"),
    "nan": (annotate(xml(box(1, 1, "nan", 2))), r"000007\.xml: box"),
    "infinite": (annotate(xml(box(1, 1, "inf", 2))), r"000007\.xml: box"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_names_its_file_or_is_skipped_and_counted(devkit: Path, defect: str) -> None:
    spoil, message = DEFECTS[defect]
    spoil(devkit / "VOC2007")
    with pytest.raises(VocError, match=message):
        read_voc(devkit, ONE)
    read = read_voc(devkit, ONE, on_error="skip")
    assert [record.name for record in read.records] == ["000005"]
    assert list(read.skipped) == [devkit / "VOC2007" / "Annotations" / "000007.xml"]
    (reason,) = read.skipped.values()
    with pytest.raises(VocError, match=message):
        raise VocError(reason)


def test_truncation_that_is_not_looked_for_shows_on_decoding(devkit: Path) -> None:
    truncate(devkit / "VOC2007")
    read = read_voc(devkit, ONE, verify=False)
    assert len(read) == 2
    with pytest.raises(VocError, match=r"000007\.jpg: .*truncated"):
        read_image(read.records[1].path)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such image set"),
        ("000005 2\n", r"line 1 is '000005 2'; allowed"),
        ("000005\n000007 1 1\n", "line 2"),
        ("000005\n000007\n000005\n", "line 3 lists '000005' of VOC2007, which is listed already"),
    ],
)
def test_a_defective_set_raises_either_way(devkit: Path, text: str | None, message: str, on_error: str) -> None:
    if text is not None:
        lists(devkit, "VOC2007", "odd", text)
    with pytest.raises(VocError, match=rf"ImageSets/Main/odd\.txt: {message}"):
        read_voc(devkit, [("VOC2007", "odd")], on_error=on_error)


def test_an_image_in_two_of_the_sets_is_refused(devkit: Path) -> None:
    lists(devkit, "VOC2007", "val", "000007\n")
    with pytest.raises(VocError, match=r"val\.txt: line 1 lists '000007'"):
        read_voc(devkit, [("VOC2007", "trainval"), ("VOC2007", "val")])


def test_an_unknown_mode_is_refused(devkit: Path) -> None:
    with pytest.raises(ValueError, match="on_error='ignore' is unknown; allowed"):
        read_voc(devkit, ONE, on_error="ignore")


def test_grey_jpegs_become_rgb(devkit: Path) -> None:
    path = devkit / "VOC2007" / "JPEGImages" / "000007.jpg"
    Image.new("L", (64, 48), 130).save(path)
    assert read_voc(devkit, ONE).records[1].size == (64, 48)
    assert (read_image(path) == 130).all()
    assert read_image(path).shape == (48, 64, 3)


def test_colour_jpegs_of_other_kinds_become_rgb(devkit: Path) -> None:
    path = devkit / "VOC2007" / "JPEGImages" / "000007.jpg"
    Image.new("CMYK", (64, 48), (255, 0, 0, 0)).save(path)
    red, green, blue = read_image(path).reshape(-1, 3).mean(axis=0)
    assert red < 60 < 150 < min(green, blue)


def test_a_set_may_begin_with_a_byte_order_mark(devkit: Path) -> None:
    path = devkit / "VOC2007" / "ImageSets" / "Main" / "marked.txt"
    path.write_text("000005\n", encoding="utf-8-sig")
    assert [one.name for one in read_voc(devkit, [("VOC2007", "marked")]).records] == ["000005"]


@st.composite
def annotated(draw: st.DrawFn) -> Annotated:
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    count = draw(st.integers(1, 4))
    boxes = []
    for _ in range(count):
        x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        boxes.append([x1, y1, draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height))])
    return Annotated(
        draw(st.text("abcdef_0123&", min_size=1, max_size=6)),
        np.full((height, width, 3), draw(st.integers(0, 255)), dtype=np.uint8),
        np.array(boxes),
        np.array(draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))),
        np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count))),
    )


@settings(deadline=None, max_examples=40)
@given(images=st.lists(annotated(), min_size=1, max_size=3, unique_by=lambda one: one.name))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, images: list[Annotated]) -> None:
    root, classes = tmp_path_factory.mktemp("devkit"), ("a", "b & c", "<d>")
    write_voc(root / "VOCx", "some", images, classes=classes)
    read = read_voc(root, [("VOCx", "some")], classes=classes)
    for record, one in zip(read.records, images, strict=True):
        assert record.name == one.name
        assert record.size == one.image.shape[1::-1]
        np.testing.assert_array_equal(record.boxes, one.boxes)
        np.testing.assert_array_equal(record.labels, one.labels)
        np.testing.assert_array_equal(record.difficult, one.difficult)
        # one colour all over survives JPEG up to rounding
        np.testing.assert_allclose(read_image(record.path).astype(int), one.image, atol=2)


@pytest.mark.parametrize(
    ("boxes", "labels", "message"),
    [
        ([], [], "no object"),
        ([[0, 0, 9, 4]], [0], "leaves the image"),
        ([[2, 2, 2, 4]], [0], "inverted"),
        ([[0.5, 0, 3, 4]], [0], "not whole pixels"),
        ([[0, 0, 3, 4]], [3], "label 3 is out of range; allowed: 0 to 1"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, boxes: list, labels: list, message: str) -> None:
    one = Annotated("n", np.zeros((8, 8, 3), np.uint8), np.array(boxes), np.array(labels), np.zeros(len(labels), bool))
    with pytest.raises(VocError, match=rf"n\.xml: .*{message}"):
        write_voc(tmp_path, "some", [one], classes=("a", "b"))
    assert not list((tmp_path / "ImageSets" / "Main").iterdir())


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg", ".JPEG", ".Png"])
def test_images_of_other_suffixes_are_found(devkit: Path, suffix: str) -> None:
    path = devkit / "VOC2007" / "JPEGImages" / "000007.jpg"
    renamed = path.with_suffix(suffix)
    if suffix.lower() == ".png":
        Image.open(path).save(renamed)
        path.unlink()
    else:
        path.rename(renamed)
    assert read_voc(devkit, ONE).records[1].path == renamed


def test_two_images_of_one_name_are_refused(devkit: Path) -> None:
    folder = devkit / "VOC2007" / "JPEGImages"
    Image.open(folder / "000007.jpg").save(folder / "000007.png")
    with pytest.raises(
        VocError, match=r"000007\.jpg: one of several images named '000007' \(000007\.jpg, 000007\.png\)"
    ):
        read_voc(devkit, ONE)


def test_names_with_spaces(devkit: Path) -> None:
    for name in ("my first image", "photo 1"):
        put(devkit, "VOC2007", name, xml(PERSON))
    lists(devkit, "VOC2007", "spaced", "my first image\nphoto 1\n000005\n")
    lists(devkit, "VOC2007", "car_spaced", "my first image  1\nphoto 1 -1\n000005  0\n")
    assert [one.name for one in read_voc(devkit, [("VOC2007", "spaced")]).records] == [
        *("my first image", "photo 1", "000005")
    ]
    assert [one.name for one in read_voc(devkit, [("VOC2007", "car_spaced")]).records] == ["my first image", "000005"]


def test_a_line_that_may_be_two_things_is_refused(devkit: Path) -> None:
    for name in ("photo", "photo 1"):
        put(devkit, "VOC2007", name, xml(PERSON))
    lists(devkit, "VOC2007", "odd", "photo 1\n")
    with pytest.raises(VocError, match=r"odd\.txt: line 1 is 'photo 1', which may be a name, or 'photo' and a flag"):
        read_voc(devkit, [("VOC2007", "odd")])


def test_images_without_objects_are_kept_when_asked_for(devkit: Path) -> None:
    put(devkit, "VOC2007", "000007", xml())
    with pytest.raises(VocError, match=r"000007\.xml: no object"):
        read_voc(devkit, ONE)
    record = read_voc(devkit, ONE, negatives=True).records[1]
    assert (record.boxes.shape, record.labels.shape, record.difficult.shape) == ((0, 4), (0,), (0,))
    assert (record.boxes.dtype, record.labels.dtype, record.difficult.dtype) == (np.float32, np.int64, np.bool_)
    with pytest.raises(TypeError, match="negatives='yes' is a str"):
        read_voc(devkit, ONE, negatives="yes")  # type: ignore[arg-type]


def test_boxes_that_count_from_0(devkit: Path) -> None:
    put(devkit, "VOC2007", "000007", xml(box(0, 0, 63, 47)))
    with pytest.raises(VocError, match=r"000007\.xml: box .* = \(0\.0, 0\.0, 63\.0, 47\.0\).*first_pixel=0"):
        read_voc(devkit, ONE)
    read = read_voc(devkit, ONE, first_pixel=0)
    assert read.records[1].boxes.tolist() == [[0, 0, 64, 48]]
    assert read.records[0].boxes.tolist() == [[3, 2, 21, 16], [1, 1, 31, 11]]
    put(devkit, "VOC2007", "000007", xml(box(0, 0, 64, 47)))
    with pytest.raises(VocError, match="0 <= xmin <= xmax <= 63 and 0 <= ymin <= ymax <= 47"):
        read_voc(devkit, ONE, first_pixel=0)
    with pytest.raises(ValueError, match="first_pixel=2 is unknown; allowed"):
        read_voc(devkit, ONE, first_pixel=2)  # type: ignore[arg-type]


def test_namespaces_are_looked_through(devkit: Path) -> None:
    plain = xml(PERSON, CAR)
    expected = read_voc(devkit, ONE).records[0]
    for text in (
        plain.replace("<annotation>", '<annotation xmlns="http://example.org/voc">'),
        plain.replace("<", "<v:").replace("<v:/", "</v:").replace("<v:annotation>", '<v:annotation xmlns:v="urn:v">'),
    ):
        put(devkit, "VOC2007", "000005", text)
        np.testing.assert_array_equal(read_voc(devkit, ONE).records[0].boxes, expected.boxes)


def turn(devkit: Path, orientation: int) -> None:
    """000007.jpg: 64 x 48 as stored, bright in its upper left corner as stored."""
    pixels = np.zeros((48, 64, 3), dtype=np.uint8)
    pixels[:16, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(devkit / "VOC2007" / "JPEGImages" / "000007.jpg", exif=exif)


def test_the_size_tells_whether_boxes_are_of_the_upright_image(devkit: Path) -> None:
    turn(devkit, 6)  # a quarter turn clockwise shows it: the bright corner comes to the upper right
    (devkit / "VOC2007" / "Annotations" / "000007.xml").write_text(xml(box(33, 1, 48, 16), width="48", height="64"))
    record = read_voc(devkit, ONE).records[1]
    assert (record.size, record.upright) == ((48, 64), True)
    shown = read_image(record.path, upright=record.upright)
    assert shown.shape == (64, 48, 3)
    assert shown[:16, 32:].mean() > 240
    (devkit / "VOC2007" / "Annotations" / "000007.xml").write_text(xml(box(1, 1, 16, 16)))
    record = read_voc(devkit, ONE).records[1]
    assert (record.size, record.upright) == ((64, 48), False)
    assert read_image(record.path, upright=record.upright)[:16, :16].mean() > 240


def test_the_orientation_is_named_where_it_may_explain_an_error(devkit: Path) -> None:
    turn(devkit, 6)
    annotation = devkit / "VOC2007" / "Annotations" / "000007.xml"
    annotation.write_text(xml(box(1, 40, 10, 60)))
    with pytest.raises(VocError, match=r"000007\.xml: box .* leaves the image.*EXIF orientation 6"):
        read_voc(devkit, ONE)
    annotation.write_text(xml(box(1, 1, 10, 10), width="50", height="50"))
    with pytest.raises(VocError, match=r"is 64 x 48 as stored \(EXIF orientation 6\)"):
        read_voc(devkit, ONE)


def test_an_image_with_a_text_bomb_is_one_error_or_one_skip(devkit: Path) -> None:
    text = PngInfo()
    text.add_text("Comment", "a" * 2_000_000, zip=True)
    folder = devkit / "VOC2007" / "JPEGImages"
    Image.open(folder / "000007.jpg").save(folder / "000007.png", pnginfo=text)
    (folder / "000007.jpg").unlink()
    with pytest.raises(VocError, match=r"000007\.png: the image cannot be decoded .*too large"):
        read_voc(devkit, ONE)
    assert len(read_voc(devkit, ONE, on_error="skip").skipped) == 1


def test_grey_of_16_bits_is_read_right(devkit: Path) -> None:
    folder = devkit / "VOC2007" / "JPEGImages"
    (folder / "000007.jpg").unlink()
    Image.fromarray(np.full((48, 64), 5140, np.uint16)).save(folder / "000007.png")
    assert (read_image(read_voc(devkit, ONE).records[1].path) == 20).all()
