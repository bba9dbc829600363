"""A detector small enough to be made anew in each test."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tasks.detection.config import Config, Extra, PriorMap
from tasks.detection.models import Detector, build

# the published chain of maps, 3x3 bodies without padding included, at a size that costs nothing
TINY = Config(
    size=96,
    stem=4,
    stages=(8, 8, 16, 16),
    depths=(1, 1, 1, 2),
    layer="bottleneck",
    sources=(1, 3),
    extras=(Extra(2, 2), Extra(3, 1)),
    extra_channels=(4, 12),
    decoder=6,
    prediction_channels=(4, 8),
    kernels=(5, 3, 3, 3),
    priors=(
        PriorMap(12, 8.0, 4.0, 10.0, 20.0),
        PriorMap(6, 16.0, 8.0, 20.0, 40.0, ratios=(2.0,)),
        PriorMap(3, 32.0, 16.0, 40.0, 60.0),
        PriorMap(1, 96.0, 48.0, 60.0, 80.0),
    ),
)
BOXES = 8 * 144 + 4 * 36 + 8 * 9 + 8


def tiny(**options: Any) -> Detector:
    return build(TINY, classes=2, seed=0, **options)


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 96, 96, generator=torch.Generator().manual_seed(0))
