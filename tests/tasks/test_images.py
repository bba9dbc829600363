"""The one image reader: kinds of pixels against values worked out by hand, and damage of every kind is one error."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks import images
from tasks.images import ImageError, MissingImageError, read_header, read_image

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def file_of(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG with one more chunk, before its pixels."""
    at = png.index(b"IDAT") - 4
    return png[:at] + chunk(kind, data) + png[at:]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled(form: str) -> None:
    values = np.array([[0, 5140, 10280, 65535, 128, 129]], dtype=np.uint16)
    assert read_image(file_of(Image.fromarray(values), form), channels=1)[0, :, 0].tolist() == [0, 20, 40, 255, 0, 1]
    assert (read_image(file_of(Image.fromarray(values), form))[0, 1] == 20).all()


def test_grey_of_16_bits_as_a_portable_map() -> None:
    head = b"P5 3 1 65535\n"
    assert read_image(head + struct.pack(">3H", 0, 5140, 65535), channels=1)[0, :, 0].tolist() == [0, 20, 255]


def test_grey_of_16_bits_is_scaled_before_it_is_resized() -> None:
    values = np.full((8, 8), 5140, dtype=np.uint16)
    assert (read_image(file_of(Image.fromarray(values)), channels=1, side=3) == 20).all()


def test_palettes_are_looked_up() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8)).convert("P")
    image.putpalette([200, 0, 0, 0, 100, 0, 7, 8, 9])
    assert read_image(file_of(image))[0].tolist() == [[200, 0, 0], [0, 100, 0], [7, 8, 9]]
    transparent = file_of(image, transparency=1)
    assert read_image(transparent)[0].tolist() == [[200, 0, 0], [255, 255, 255], [7, 8, 9]]


def test_one_bit_is_black_and_white() -> None:
    image = Image.fromarray(np.array([[0, 255, 0]], dtype=np.uint8)).convert("1")
    assert read_image(file_of(image), channels=1)[0, :, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize(
    ("mode", "pixel", "seen"),
    [
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 100, 200, 51), (204, 224, 244)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (40, 255), (40, 40, 40)),
    ],
)
def test_transparent_pixels_lie_on_white(mode: str, pixel: tuple[int, ...], seen: tuple[int, ...]) -> None:
    read = read_image(file_of(Image.new(mode, (2, 2), pixel)))
    np.testing.assert_allclose(read.astype(int), np.broadcast_to(seen, (2, 2, 3)), atol=1)


def test_a_transparent_colour_lies_on_white() -> None:
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8))
    assert read_image(file_of(image, transparency=(1, 2, 3)))[0].tolist() == [[255, 255, 255], [4, 5, 6]]


def test_cmyk_becomes_rgb() -> None:
    red, green, blue = read_image(file_of(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG"))[4, 4].tolist()
    assert red < 60 < 150 < min(green, blue)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied(orientation: int, form: str) -> None:
    """Row 0 and column 0 of the stored pixels stand where EXIF's definition of the tag says."""
    grey = np.zeros((24, 16), dtype=np.uint8)
    grey[:8, :8] = 255  # bright where the stored row 0 meets column 0
    image = Image.fromarray(grey)
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = read_image(file_of(image.convert("RGB"), form, exif=exif), channels=1)[:, :, 0]
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    bright = {(row, column): read[row, column] > 128 for row in (0, -1) for column in (0, -1)}
    assert [at for at, on in bright.items() if on] == [corner[orientation]]
    assert read.shape == ((16, 24) if orientation >= 5 else (24, 16))
    if form == "TIFF":  # which Pillow turns by itself
        return
    stored = read_image(file_of(image.convert("RGB"), form, exif=exif), channels=1, upright=False)[:, :, 0]
    assert stored.shape == (24, 16)
    assert stored[0, 0] > 128


def test_the_header_tells_both_sizes(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "turned.jpg").write_bytes(file_of(Image.new("RGB", (64, 48)), "JPEG", exif=exif))
    header = read_header(tmp_path / "turned.jpg")
    assert (header.size, header.upright, header.orientation) == ((64, 48), (48, 64), 6)


def test_exif_that_cannot_be_read_says_nothing() -> None:
    data = file_of(Image.fromarray(COLOURS), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert read_image(data).shape == (5, 7, 3)


def test_of_several_frames_the_first_is_read() -> None:
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    assert (read_image(file_of(frames[0], "GIF", save_all=True, append_images=frames[1:]), channels=1) == 10).all()


def test_modes_without_a_known_range_are_refused() -> None:
    for mode in ("F", "I"):
        with pytest.raises(ImageError, match=f"photo: the image is of mode '{mode}'; allowed: 8 bits a channel"):
            read_image(file_of(Image.new(mode, (2, 2)), "TIFF"), name="photo")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for error in (ImageError, FileNotFoundError):
        with pytest.raises(error, match=r"none\.png: no such image"):
            read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="cannot be read"):
        read_header(tmp_path)
    assert issubclass(MissingImageError, ValueError)


def test_channels_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channels=2 is unknown; allowed: 1 .*3"):
        read_image(b"", channels=2)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


PNG = file_of(Image.fromarray(COLOURS))
DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "begins like no known format"),
    "text": (b"GIF89a, or so it says", "cannot be decoded"),
    "cut PNG": (cut(file_of(Image.fromarray(RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)))), "cannot be decoded"),
    "cut JPEG": (cut(file_of(Image.fromarray(RNG.integers(0, 256, (90, 90, 3), dtype=np.uint8)), "JPEG")), "truncated"),
    "text bomb": (with_chunk(PNG, b"zTXt", b"Comment\x00\x00" + zlib.compress(b"a" * 2**21)), "too large"),
    "international text bomb": (
        with_chunk(PNG, b"iTXt", b"Comment\x00\x01\x00\x00\x00" + zlib.compress(b"a" * 2**21)),
        "too large",
    ),
    "many texts": (b"".join((PNG[:33], chunk(b"tEXt", b"k\x00" + b"a" * 2**20) * 70, PNG[33:])), "memory"),
    "pixel bomb": (
        PNG[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)) + PNG[33:],
        r"30000 x 30000|exceeds limit",
    ),
    "large": (
        PNG[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 12000, 12000, 8, 2, 0, 0, 0)) + PNG[33:],
        "12000 x 12000 pixels; allowed: 134217728",
    ),
    "no pixels": (
        PNG[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 4, 8, 2, 0, 0, 0)) + PNG[33:],
        "cannot be decoded",
    ),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "begins like no known format"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_one_error_that_names_the_file(tmp_path: Path, kind: str) -> None:
    data, message = DAMAGED[kind]
    (tmp_path / "spoilt.png").write_bytes(data)
    with pytest.raises(ImageError, match=rf"(?s)spoilt\.png: .*({message})"):
        read_image(tmp_path / "spoilt.png")


def test_warnings_of_the_library_are_not_passed_on() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(file_of(Image.fromarray(COLOURS).convert("P"), transparency=bytes(range(256))))


def samples() -> list[bytes]:
    colour, grey = Image.fromarray(COLOURS), Image.fromarray(COLOURS[:, :, 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        file_of(colour),
        file_of(grey.convert("P"), transparency=3),
        file_of(Image.fromarray(COLOURS[:, :, 0].astype(np.uint16) * 257)),
        with_chunk(PNG, b"zTXt", b"Comment\x00\x00" + zlib.compress(b"a" * 99)),
        with_chunk(file_of(colour, exif=exif), b"iCCP", b"profile\x00\x00" + zlib.compress(b"b" * 99)),
        file_of(colour, "JPEG", exif=exif),
        file_of(colour.convert("CMYK"), "JPEG"),
        file_of(colour, "JPEG", progressive=True),
        file_of(grey, "GIF"),
        file_of(colour, "WEBP", exif=exif),
        file_of(colour, "WEBP", lossless=True),
        file_of(colour, "TIFF"),
        file_of(colour, "TIFF", compression="tiff_lzw"),
        file_of(grey.convert("1"), "TIFF", compression="group4"),
        file_of(colour, "BMP"),
        file_of(colour, "JPEG2000"),
        file_of(grey, "PPM"),
    ]


SAMPLES = samples()


def _flipped(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([data[at] ^ value]) + data[at + 1 :]


def _removed(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + data[at + value :]


def _repeated(data: bytes, at: int, value: int) -> bytes:
    return data[: at + value] + data[at:]


def _filled(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) * 4 + data[at + 4 :]


def image_or_error(data: bytes, channels: int) -> np.ndarray | str:
    try:
        return read_image(data, channels=channels, name="fuzzed.bin")
    except ImageError as error:
        return str(error)


MUTATIONS: list[Callable[[bytes, int, int], bytes]] = [_flipped, _removed, _repeated, _filled]


@settings(deadline=None, max_examples=400)
@given(
    sample=st.sampled_from(range(len(SAMPLES))),
    changes=st.lists(
        st.tuples(st.sampled_from(MUTATIONS), st.floats(0, 1, exclude_max=True), st.integers(1, 255)),
        min_size=1,
        max_size=4,
    ),
    channels=st.sampled_from([1, 3]),
)
def test_changed_bytes_give_an_image_or_the_one_error(
    sample: int, changes: list[tuple[Callable[[bytes, int, int], bytes], float, int]], channels: int
) -> None:
    data = SAMPLES[sample]
    for change, where, value in changes:
        if data:
            data = change(data, int(where * len(data)), value)
    read = image_or_error(data, channels)
    if isinstance(read, str):
        assert read.startswith("fuzzed.bin: ")
    else:
        assert read.dtype == np.uint8
        assert read.ndim == 3
        assert read.shape[2] == channels
        assert read.shape[0] * read.shape[1] <= images.MOST_PIXELS


@settings(deadline=None, max_examples=60)
@given(data=st.binary(max_size=200), head=st.sampled_from([b"", *(sample[:12] for sample in SAMPLES)]))
def test_bytes_of_any_kind_give_an_image_or_the_one_error(data: bytes, head: bytes) -> None:
    read = image_or_error(head + data, 3)
    assert not isinstance(read, str) or read.startswith("fuzzed.bin: ")
