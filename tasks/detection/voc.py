"""The devkit layout of PASCAL VOC, read and written: JPEGImages, Annotations and ImageSets/Main in a folder per year.

VOC counts pixels from 1 and includes both ends: (xmin, ymin, xmax, ymax) is read as the continuous box
(xmin - 1, ymin - 1, xmax, ymax), whose area agrees with VOC's own.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from mtlgrad.compare.checks import boolean, one_of
from tasks import images
from tasks.images import ImageError

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The 20 classes of VOC2007 to VOC2012, in the usual (alphabetical) order."""

_JPEG_QUALITY = 95
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_SUFFIXES = (".jpg", ".jpeg", ".png")  # of images, in any case
_FLAGS = ("-1", "0", "1")  # after a name in the sets of one class


class VocError(ValueError):
    """A file of a devkit is missing, damaged or says what cannot be: the message begins with the file."""


@dataclass(frozen=True)
class Record:
    """One annotated image.

    path: of the image. name: as the image set has it. size: (width, height), pixels. boxes: float32 [k, 4], corners
    (x1, y1, x2, y2) in continuous pixels. labels: int64 [k], positions in the classes. difficult: bool [k]. upright:
    whether boxes and size are of the image as its EXIF orientation shows it, and not of the pixels as stored.
    """

    path: Path
    name: str
    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    upright: bool = True


@dataclass(frozen=True)
class Devkit:
    """What was read: records in the order of the image sets, and the files left out, each with its reason."""

    records: tuple[Record, ...]
    classes: tuple[str, ...]
    skipped: Mapping[Path, str]

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True)
class Annotated:
    """An image to be written.

    image: uint8 [h, w, 3]. boxes: [k, 4], whole pixels in continuous coordinates. labels, difficult: [k].
    """

    name: str
    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray


def read_voc(
    root: Path | str,
    sets: Sequence[tuple[str, str]],
    *,
    classes: Sequence[str] = VOC_CLASSES,
    on_error: Literal["raise", "skip"] = "raise",
    verify: bool = True,
    negatives: bool = False,
    first_pixel: Literal[0, 1] = 1,
) -> Devkit:
    """Read the annotations of image sets; images are checked, not kept.

    Parameters
    ----------
    root:
        The devkit: holds a folder per year, such as VOC2007/{JPEGImages,Annotations,ImageSets/Main}.
    sets:
        (year folder, image set), such as [("VOC2007", "trainval"), ("VOC2012", "trainval")]. A line of a set is a name,
        or a name and a flag as in the sets of one class ("car_train"), where -1 leaves the image out. Names may hold
        spaces: a last word -1, 0 or 1 belongs to the name where there is an annotation of that name.
    classes:
        A label is a position here.
    on_error:
        "raise" at the first file in error; "skip": leave the images in error out and say so in `skipped`. A missing or
        malformed image set raises either way.
    verify:
        Decode every image now, so that a truncated one shows here and not in the midst of training. Without, only the
        headers are read. (Damage that the JPEG decoder can paper over shows in neither.)
    negatives:
        Keep images without objects, with no boxes; without, such an image is an error.
    first_pixel:
        The number of the first row and column: 1 is VOC's; 0 where another tool has written the boxes.

    Raises
    ------
    VocError
        Naming the file: a set, annotation or image is missing; a name is listed twice; an annotation is malformed, has
        no object, an unknown class, a box that is inverted or leaves the image, or another size than the image; an
        image cannot be decoded, or there are two of its name. Coordinates with decimals, as VOC2012 has a few, are no
        error, nor are XML namespaces.
    ValueError, TypeError
        An unknown `on_error` or `first_pixel`; `negatives` is no bool.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> boxes, labels, difficult = np.array([[2, 0, 7, 5]]), np.array([1]), np.array([False])
    >>> with TemporaryDirectory() as root:
    ...     dark = Annotated("000001", np.zeros((6, 8, 3), np.uint8), boxes, labels, difficult)
    ...     write_voc(Path(root) / "VOC2007", "train", [dark], classes=("cat", "dog"))
    ...     devkit = read_voc(root, [("VOC2007", "train")], classes=("cat", "dog"))
    >>> devkit.records[0].size, devkit.records[0].boxes.tolist(), devkit.skipped
    ((8, 6), [[2.0, 0.0, 7.0, 5.0]], mappingproxy({}))
    """
    one_of("on_error", on_error, ("raise", "skip"))
    one_of("first_pixel", first_pixel, (0, 1))
    boolean("negatives", negatives)
    reader = _Reader(tuple(classes), negatives, int(first_pixel))
    records: list[Record] = []
    skipped: dict[Path, str] = {}
    for folder, name in _listed(Path(root), sets):
        annotation = folder / "Annotations" / f"{name}.xml"
        try:
            record = reader.read(folder, annotation, name)
            if verify:
                read_image(record.path, upright=record.upright)
        except VocError as error:
            if on_error == "raise":
                raise
            skipped[annotation] = str(error)
        else:
            records.append(record)
    return Devkit(tuple(records), tuple(classes), MappingProxyType(skipped))


def read_image(path: Path, *, upright: bool = True) -> np.ndarray:
    """Decode an image, uint8 [h, w, 3], RGB, as `tasks.images.read_image` does.

    Raises
    ------
    VocError
        It is missing or cannot be decoded to its end.
    """
    try:
        return images.read_image(path, upright=upright)
    except ImageError as error:
        raise VocError(str(error)) from error


def write_voc(folder: Path | str, split: str, images: Iterable[Annotated], *, classes: Sequence[str]) -> None:
    """Write one image set in VOC's layout; `read_voc` gives the same boxes, labels and flags back.

    Parameters
    ----------
    folder:
        Of the year, such as devkit/VOC2007; made where missing.
    split:
        Names the set, ImageSets/Main/<split>.txt.
    images:
        Consumed one by one.
    classes:
        Names of the labels.

    Raises
    ------
    VocError
        As `read_voc`: no objects, an unknown label, a box outside its image; and boxes that are not whole pixels.
    """
    folder = Path(folder)
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    names = []
    for one in images:
        path = folder / "Annotations" / f"{one.name}.xml"
        path.write_text(_to_xml(path, one, tuple(classes)), "utf-8")
        Image.fromarray(one.image).save(folder / "JPEGImages" / f"{one.name}.jpg", quality=_JPEG_QUALITY)
        names.append(one.name)
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")


def _listed(root: Path, sets: Sequence[tuple[str, str]]) -> list[tuple[Path, str]]:
    """The year folder and the name of every image that the sets list."""
    found: dict[tuple[Path, str], None] = {}
    for year, split in sets:
        path = root / year / "ImageSets" / "Main" / f"{split}.txt"
        _check_exists(path, "image set")
        for number, line in enumerate(path.read_text("utf-8-sig", "replace").splitlines(), start=1):
            if not line.strip():
                continue
            name, flag = _name_and_flag(root / year, line.strip(), f"{path}: line {number}")
            if flag == "-1":
                continue
            if (root / year, name) in found:
                raise VocError(f"{path}: line {number} lists {name!r} of {year}, which is listed already")
            found[root / year, name] = None
    return list(found)


def _name_and_flag(folder: Path, line: str, where: str) -> tuple[str, str | None]:
    """The name and the flag that a line of a set holds; what is annotated decides which words are the name's."""

    def annotated(name: str) -> bool:
        return (folder / "Annotations" / f"{name}.xml").is_file()

    words = line.split()
    shorter = line[: -len(words[-1])].rstrip() if words[-1] in _FLAGS else ""
    if shorter and annotated(line) and annotated(shorter):
        raise VocError(f"{where} is {line!r}, which may be a name, or {shorter!r} and a flag: both are annotated")
    if shorter and not annotated(line):
        line, flag = shorter, words[-1]
    else:
        flag = None
    if " " in line and not annotated(line) and annotated(words[0]):
        raise VocError(f"{where} is {' '.join(words)!r}; allowed: a name, or a name and -1, 0 or 1")
    return line, flag


@dataclass
class _Reader:
    """Reads annotations; knows what image folders hold, so that each is listed once."""

    classes: tuple[str, ...]
    negatives: bool
    first_pixel: int

    def __post_init__(self) -> None:
        self._found: dict[Path, dict[str, list[Path]]] = {}

    def read(self, folder: Path, annotation: Path, name: str) -> Record:
        _check_exists(annotation, "annotation")
        path = self._image(folder / "JPEGImages", name)
        root = _parse(annotation)
        objects = root.findall("object")  # direct children: the parts of a person have boxes too
        said = [_number(annotation, root, f"size/{side}") for side in ("width", "height")]
        size, upright, orientation = _check_size(annotation, said, path)
        if not self.negatives:
            _check_objects(annotation, len(objects))
        labels = [_label(annotation, one, self.classes) for one in objects]
        difficult = [_difficult(annotation, one) for one in objects]
        corners = [[_number(annotation, one, f"bndbox/{corner}") for corner in _CORNERS] for one in objects]
        shift = (1, 1, 0, 0) if self.first_pixel == 1 else (0, 0, -1, -1)
        boxes = np.array(corners, dtype=np.float64).reshape(-1, 4) - shift
        _check_boxes(annotation, boxes, size, first=self.first_pixel, orientation=orientation)
        return Record(
            path,
            name,
            size,
            boxes.astype(np.float32),
            np.array(labels, dtype=np.int64),
            np.array(difficult, dtype=bool),
            upright,
        )

    def _image(self, folder: Path, name: str) -> Path:
        if folder not in self._found:
            here = self._found[folder] = {}
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.suffix.lower() in _SUFFIXES:
                    here.setdefault(path.stem, []).append(path)
        paths = self._found[folder].get(name, [])
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise VocError(f"{paths[0]}: one of several images named {name!r} ({names}); allowed: one")
        if not paths:
            raise VocError(f"{folder / name}.jpg: no such image, nor one with another of {', '.join(_SUFFIXES)}")
        return paths[0]


def _parse(annotation: Path) -> ElementTree.Element:
    """The root of an annotation, its tags without their namespaces."""
    try:
        root = ElementTree.parse(annotation).getroot()
    except OSError as error:
        raise VocError(f"{annotation}: the annotation cannot be read ({error.strerror})") from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: an encoding unheard of
        raise VocError(f"{annotation}: not well-formed XML ({error})") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _text(annotation: Path, element: ElementTree.Element, tag: str) -> str:
    text = element.findtext(tag)
    if text is None or not text.strip():
        raise VocError(f"{annotation}: <{element.tag}> has no <{tag.replace('/', '><')}>")
    return text.strip()


def _number(annotation: Path, element: ElementTree.Element, tag: str) -> float:
    text = _text(annotation, element, tag)
    try:
        return float(text)
    except ValueError as error:
        raise VocError(f"{annotation}: <{tag.replace('/', '><')}> is {text!r}; allowed: a number") from error


def _label(annotation: Path, element: ElementTree.Element, classes: tuple[str, ...]) -> int:
    name = _text(annotation, element, "name")
    if name not in classes:
        raise VocError(f"{annotation}: class {name!r} is unknown; allowed: {classes}")
    return classes.index(name)


def _difficult(annotation: Path, element: ElementTree.Element) -> bool:
    if element.find("difficult") is None:  # VOC's own files leave the flag out here and there
        return False
    flag = _text(annotation, element, "difficult")
    if flag not in ("0", "1"):
        raise VocError(f"{annotation}: <difficult> is {flag!r}; allowed: 0 or 1")
    return flag == "1"


def _check_exists(path: Path, what: str) -> None:
    if not path.is_file():
        raise VocError(f"{path}: no such {what}")


def _check_objects(path: Path, count: int) -> None:
    if count == 0:
        raise VocError(f"{path}: no object; an image needs at least one")


def _check_boxes(path: Path, boxes: np.ndarray, size: tuple[int, int], *, first: int = 1, orientation: int = 1) -> None:
    """Raise unless the continuous boxes lie in the image; `first` is the number of the first pixel, for the message."""
    last = (size[0] + first - 1, size[1] + first - 1)
    for x1, y1, x2, y2 in boxes.tolist():
        if not (0 <= x1 <= x2 - 1 and 0 <= y1 <= y2 - 1 and x2 <= size[0] and y2 <= size[1]):
            said = (x1 + first, y1 + first, x2 + first - 1, y2 + first - 1)
            hint = ""
            if first == 1 and min(x1, y1) == -1 and x2 < size[0] and y2 < size[1]:
                hint = "; if the file counts pixels from 0, say first_pixel=0"
            if orientation != 1:
                hint += (
                    f"; the image has EXIF orientation {orientation}: the box may be of the pixels in another position"
                )
            raise VocError(
                f"{path}: box (xmin, ymin, xmax, ymax) = {tuple(float(f'{corner:g}') for corner in said)} is inverted "
                f"or leaves the image; allowed: {first} <= xmin <= xmax <= {last[0]} and "
                f"{first} <= ymin <= ymax <= {last[1]}{hint}"
            )


def _check_size(path: Path, said: list[float], image_path: Path) -> tuple[tuple[int, int], bool, int]:
    """The image's size, (width, height), whether that is of the upright image, and its EXIF orientation.

    Where the orientation swaps the sides, the annotation's size tells which of the two it is of. Where it does not
    tell, the annotation is of the upright image, which is what viewers show.
    """
    try:
        header = images.read_header(image_path)
    except ImageError as error:
        raise VocError(str(error)) from error
    for size, upright in ((header.upright, True), (header.size, False)):
        if list(size) == said:
            return size, upright, header.orientation
    size = header.size
    turned = "" if header.orientation == 1 else f" as stored (EXIF orientation {header.orientation})"
    raise VocError(f"{path}: <size> is {said[0]:g} x {said[1]:g}, but {image_path} is {size[0]} x {size[1]}{turned}")


def _to_xml(path: Path, one: Annotated, classes: tuple[str, ...]) -> str:
    height, width = one.image.shape[:2]
    boxes = np.asarray(one.boxes, dtype=np.float64).reshape(-1, 4)
    _check_objects(path, len(boxes))
    _check_boxes(path, boxes, (width, height))
    if (boxes != boxes.round()).any():
        raise VocError(f"{path}: boxes {boxes.tolist()} are not whole pixels, which VOC's form asks for")
    lines = ["<annotation>", f"  <filename>{escape(one.name)}.jpg</filename>"]
    lines += [f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>"]
    for label, difficult, (x1, y1, x2, y2) in zip(
        one.labels.tolist(), one.difficult.tolist(), boxes.astype(int).tolist(), strict=True
    ):
        if not 0 <= label < len(classes):
            raise VocError(f"{path}: label {label} is out of range; allowed: 0 to {len(classes) - 1}")
        said = f"<name>{escape(classes[label])}</name><difficult>{int(difficult)}</difficult>"
        box = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        lines += [f"  <object>{said}<bndbox>{box}</bndbox></object>"]
    return "\n".join((*lines, "</annotation>\n"))
