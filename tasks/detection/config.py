"""What a DSSD is built from: sizes of its parts and of its prior boxes, as frozen values.

Fu et al., DSSD: Deconvolutional Single Shot Detector, arXiv:1701.06659.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from mtlgrad.compare import checks

Fusion = Literal["product", "sum"]
Layer = Literal["basic", "bottleneck"]
Prediction = Literal["plain", "c"]
Stage = Literal["ssd", "dssd"]

STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class PriorMap:
    """Prior boxes of one source map of `cells` x `cells`; lengths in pixels of the network's input.

    A cell's boxes share the centre (column * step + offset, row * step + offset). Two are squares of sides `low` and
    sqrt(low * high); each ratio r adds one box of width low * sqrt(r) and height low / sqrt(r), and its transpose.
    """

    cells: int
    step: float
    offset: float
    low: float
    high: float
    ratios: tuple[float, ...] = (1.6, 2.0, 3.0)

    @property
    def boxes(self) -> int:
        """Boxes per cell."""
        return 2 + 2 * len(self.ratios)


@dataclass(frozen=True)
class Extra:
    """One residual body on top of the backbone; its convolution of `kernel` and `stride` has no padding."""

    kernel: int
    stride: int


@dataclass(frozen=True)
class Config:
    """Sizes of a detector. Source maps are counted from the largest to the smallest.

    Parameters
    ----------
    size:
        Side of the square input, in pixels.
    stem, stages, depths, layer:
        The ResNet: channels of its first convolution, channels and number of layers of each stage, kind of layer.
    sources:
        The stages (0-based) whose outputs are source maps. The last stage has to be among them.
    extras:
        The bodies after the last stage; each output is a source map.
    extra_channels:
        Channels inside the extras, and of their outputs.
    decoder:
        Channels of the decoder's maps.
    fusion:
        How a deconvolution module joins the map from below with the one from the side.
    prediction:
        What stands between a map and its two convolutions: nothing ("plain") or a residual body whose shortcut is a
        1x1 convolution ("c").
    prediction_channels:
        Channels inside the prediction module "c", and of its output.
    kernels:
        Kernel size of each map's localisation and classification convolution.
    priors:
        Of each map.

    Raises
    ------
    ValueError
        Unknown kind, or parts that do not fit each other.
    """

    size: int
    stem: int
    stages: tuple[int, ...]
    depths: tuple[int, ...]
    layer: Layer
    sources: tuple[int, ...]
    extras: tuple[Extra, ...]
    extra_channels: tuple[int, int]
    decoder: int
    prediction_channels: tuple[int, int]
    kernels: tuple[int, ...]
    priors: tuple[PriorMap, ...]
    fusion: Fusion = "product"
    prediction: Prediction = "c"

    def __post_init__(self) -> None:
        checks.one_of("layer", self.layer, get_args(Layer))
        checks.one_of("fusion", self.fusion, get_args(Fusion))
        checks.one_of("prediction", self.prediction, get_args(Prediction))
        last = len(self.stages) - 1
        if len(self.depths) != len(self.stages):
            raise ValueError(f"depths={self.depths} and stages={self.stages} differ in length")
        if not self.sources or list(self.sources) != sorted({*self.sources, last}) or self.sources[0] < 0:
            raise ValueError(f"sources={self.sources}; allowed: ascending stages from 0 to {last}, with {last}")
        if any(kernel % 2 == 0 for kernel in self.kernels) or len(self.kernels) != len(self.cells):
            raise ValueError(f"kernels={self.kernels}; allowed: {len(self.cells)} odd numbers, one per map")
        given = tuple(prior.cells for prior in self.priors)
        if given != self.cells:
            raise ValueError(f"priors have maps of {given} cells; the network's source maps have {self.cells}")
        for large, small, up in zip(self.cells, self.cells[1:], self.deconvolutions, strict=False):
            if (small - 1) * up.stride + up.kernel != large:
                raise ValueError(
                    f"size={self.size}, sources={self.sources} and extras={self.extras} give maps of {self.cells} "
                    f"cells; a deconvolution of kernel {up.kernel} and stride {up.stride} leads from {small} cells to "
                    f"{(small - 1) * up.stride + up.kernel}, not to {large}"
                )

    @property
    def cells(self) -> tuple[int, ...]:
        """Side of each source map.

        >>> CONFIGS["dssd321"].cells
        (40, 20, 10, 5, 3, 1)
        """
        return _cells(self.size, len(self.stages), self.sources, self.extras)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each source map."""
        return tuple(self.stages[i] for i in self.sources) + (self.extra_channels[1],) * len(self.extras)

    @property
    def deconvolutions(self) -> tuple[Extra, ...]:
        """Kernel and stride that lead from each map but the first up to the one before."""
        return (Extra(2, 2),) * (len(self.sources) - 1) + self.extras


def _cells(size: int, stages: int, sources: Sequence[int], extras: Sequence[Extra]) -> tuple[int, ...]:
    cells = (size + 1) // 2  # the stem's convolution, padded by half its kernel
    cells = -(-(cells - 3) // 2) + 1  # its pooling: 3x3, stride 2, no padding, rounded up
    sides = [cells]
    for stage in range(1, stages):
        sides.append(sides[-1] if stage == stages - 1 else (sides[-1] + 1) // 2)
    maps = [sides[i] for i in sources]
    for extra in extras:
        maps.append((maps[-1] - extra.kernel) // extra.stride + 1)
    return tuple(maps)


_LOWS_321 = (32.1, 64.2, 121.98, 179.76, 237.54, 295.32, 353.1)

CONFIGS = {
    "dssd321": Config(
        size=321,
        stem=64,
        stages=(256, 512, 1024, 2048),
        depths=(3, 4, 23, 3),
        layer="bottleneck",
        sources=(1, 3),
        extras=(Extra(2, 2), Extra(2, 2), Extra(3, 1), Extra(3, 1)),
        extra_channels=(256, 1024),
        decoder=512,
        prediction_channels=(256, 1024),
        kernels=(5, 5, 3, 3, 3, 3),
        # up to 3 cells the centres are those of the receptive fields; the last is the image's
        priors=tuple(
            PriorMap(cells, step, offset, low, high)
            for cells, step, offset, low, high in zip(
                (40, 20, 10, 5, 3, 1),
                (8.0, 16.0, 32.0, 64.0, 64.0, 321.0),
                (2.5, 2.5, 10.5, 26.5, 90.5, 160.5),
                _LOWS_321,
                _LOWS_321[1:],
                strict=False,
            )
        ),
    ),
    "dssd-small": Config(
        size=128,
        stem=16,
        stages=(24, 48, 96, 96),
        depths=(1, 1, 1, 1),
        layer="basic",
        sources=(1, 3),
        extras=(Extra(2, 2), Extra(2, 2)),
        extra_channels=(32, 96),
        decoder=64,
        prediction_channels=(32, 64),
        kernels=(3, 3, 3, 3),
        # the published product hardly begins to learn from scratch: see the README
        fusion="sum",
        # Centred cells: receptive fields lean to the upper left, and boxes at the lower right would lack priors. Each
        # map has larger boxes than its step suggests, so that hardly a thing of 18 to 77 pixels falls between them.
        priors=(
            PriorMap(16, 8.0, 4.0, 18.0, 40.0),
            PriorMap(8, 16.0, 8.0, 40.0, 66.0),
            PriorMap(4, 32.0, 16.0, 66.0, 90.0),
            PriorMap(2, 64.0, 32.0, 90.0, 120.0),
        ),
    ),
}
"""`dssd321` is the published network on ResNet-101; `dssd-small` keeps its structure at a size that one core trains."""
