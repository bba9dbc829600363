"""Pictures as the report embeds them."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def png(pixels: NDArray[np.uint8]) -> str:
    """A PNG in base64 of an image, uint8 [height, width] or [height, width, 3].

    >>> png(np.zeros((2, 3), dtype=np.uint8))[:10]
    'iVBORw0KGg'
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
