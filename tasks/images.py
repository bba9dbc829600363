"""The one reader of image files: whatever a file holds becomes 8-bit grey or RGB pixels, or an error with its name.

Grey of 16 bits is scaled to 8, palettes are looked up, transparent pixels lie on white, CMYK becomes RGB, and the EXIF
orientation is applied. Of a file with several frames the first is read.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is read. Pillow knows more, among them formats that start other programs. Its JPEG reader takes MPO too."""

_SPELT = (*FORMATS, "MPO")

MOST_PIXELS = 2**27
"""A file that says it has more pixels is refused before they are decoded: 134 million, 400 MB as RGB."""

_ORIENTATION = 0x0112  # the number of EXIF's tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_T = TypeVar("_T")
_SIXTEEN_BITS = 257  # 65535 / 255: white stays white


class ImageError(ValueError):
    """An image file is missing, damaged or of a kind that cannot be read: the message begins with the file."""


class MissingImageError(ImageError, FileNotFoundError):
    """There is no such file."""


@cache
def suffixes() -> frozenset[str]:
    """Of the files that can be read, in lower case, as Pillow knows them for `FORMATS`.

    >>> {".jpg", ".jfif", ".jp2", ".ppm"} <= suffixes(), ".pdf" in suffixes()
    (True, False)
    """
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in _SPELT)


@dataclass(frozen=True)
class Header:
    """What a file says of its pixels before they are decoded.

    size: (width, height) as stored. orientation: EXIF's, 1 (as stored) to 8.
    """

    size: tuple[int, int]
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """(width, height) once the orientation is applied."""
        return self.size[::-1] if self.orientation >= 5 else self.size


def read_header(path: Path) -> Header:
    """The size and the orientation of an image file.

    Raises
    ------
    ImageError
        As `read_image`, as far as it shows without decoding.
    """
    return _open(_bytes(path), str(path), lambda image: Header(image.size, _orientation(image)))


def read_image(
    file: Path | bytes, *, channels: int = 3, side: int | None = None, upright: bool = True, name: str = "an image"
) -> np.ndarray:
    """Decode an image to its end.

    Parameters
    ----------
    file:
        Its path, or what it holds.
    channels:
        3: RGB; 1: grey.
    side:
        Resize to `side` x `side` pixels, bilinearly; None: leave the size alone.
    upright:
        Apply the EXIF orientation. TIFF files are read upright either way.
    name:
        Of an image that is given as bytes, for errors.

    Returns
    -------
    numpy.ndarray
        uint8 [height, width, channels].

    Raises
    ------
    ImageError
        The file is missing, cannot be decoded to its end, is of a format other than `FORMATS`, has more than
        `MOST_PIXELS` pixels, or has pixels without a known range (floating point, 32-bit integers).
    ValueError
        `channels` is neither 1 nor 3.

    Examples
    --------
    >>> buffer = io.BytesIO()
    >>> Image.fromarray(np.array([[0, 5140, 65535]], dtype=np.uint16)).save(buffer, format="PNG")
    >>> read_image(buffer.getvalue(), channels=1)[:, :, 0].tolist()
    [[0, 20, 255]]
    """
    if channels not in (1, 3):
        raise ValueError(f"channels={channels!r} is unknown; allowed: 1 (grey), 3 (RGB)")
    said = name if isinstance(file, bytes) else str(file)
    data = file if isinstance(file, bytes) else _bytes(file)

    def pixels(image: Image.Image) -> np.ndarray:
        image.load()
        turn = _TURNS.get(_orientation(image)) if upright else None
        image = _eight_bits(image, said)
        if turn is not None:
            image = image.transpose(turn)
        image = image.convert({1: "L", 3: "RGB"}[channels])
        if side is not None:
            image = image.resize((side, side), Image.Resampling.BILINEAR)
        return np.array(image, dtype=np.uint8).reshape(image.height, image.width, channels)

    return _open(data, said, pixels)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MissingImageError(f"{path}: no such image") from error
    except OSError as error:
        raise ImageError(f"{path}: the image cannot be read ({error.strerror})") from error


def _open(data: bytes, name: str, use: Callable[[Image.Image], _T]) -> _T:
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata, which say nothing of the pixels, and of large images, which are refused here
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ImageError(
                        f"{name}: the image says it has {image.width} x {image.height} pixels; "
                        f"allowed: {MOST_PIXELS} in all"
                    )
                return use(image)
    except ImageError:
        raise
    except Exception as error:  # a damaged file shows in Pillow's parts by exceptions of nearly every kind
        reason = "it begins like no known format" if isinstance(error, UnidentifiedImageError) else error
        raise ImageError(f"{name}: the image cannot be decoded ({reason or type(error).__name__})") from error


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow turns these itself, and gives the upright size from the start
        return 1
    try:
        said = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF data that cannot be read say nothing, and the pixels may be sound
        return 1
    return said if said in _TURNS else 1


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Grey or colour of 8 bits a channel, without transparency."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):  # of 16 bits, these two
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray((values / _SIXTEEN_BITS).round().clip(0, 255).astype(np.uint8))
    if image.mode.startswith(("I", "F")):
        raise ImageError(f"{name}: the image is of mode {image.mode!r}; allowed: 8 bits a channel, or 16 bits of grey")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L") if image.mode in ("1", "L") else image.convert("RGB")
