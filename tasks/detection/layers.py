"""The blocks that a DSSD is put together from, beside its backbone."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tasks.detection.config import Fusion


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that takes a single value per channel in training: normalised by the running statistics.

    A batch of one image has one value on the map of one cell, where a variance cannot be told.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def normalized(inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0) -> nn.Sequential:
    """A convolution without bias, and batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False), BatchNorm(outputs)
    )


class Body(nn.Module):
    """Residual body: 1x1, `kernel` and 1x1 convolutions (`inside`, `inside`, `outputs` channels) plus a shortcut.

    ReLU follows the sum. With `shrink` the middle convolution has no padding, and the shortcut is a convolution of the
    same kernel and stride; without, the map keeps its size and the shortcut is 1x1.
    """

    def __init__(
        self, inputs: int, inside: int, outputs: int, *, kernel: int = 3, stride: int = 1, shrink: bool = False
    ) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            normalized(inputs, inside, 1),
            nn.ReLU(),
            normalized(inside, inside, kernel, stride=stride, padding=0 if shrink else kernel // 2),
            nn.ReLU(),
            normalized(inside, outputs, 1),
        )
        self.shortcut = normalized(inputs, outputs, kernel if shrink else 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x))


class Deconvolution(nn.Module):
    """Deconvolution module: a smaller map is enlarged and joined with an encoder's map of the new size.

    Below: deconvolution (no norm, no ReLU), 3x3 convolution, norm. Side: 3x3 convolution, norm, ReLU, 3x3 convolution,
    norm. Their product or sum, then ReLU; Fu et al. 2017, Fig. 3.
    """

    def __init__(self, below: int, side: int, channels: int, *, kernel: int, stride: int, fusion: Fusion) -> None:
        super().__init__()
        self.fusion = fusion
        self.below = nn.Sequential(
            nn.ConvTranspose2d(below, channels, kernel, stride=stride), normalized(channels, channels, 3, padding=1)
        )
        self.side = nn.Sequential(
            normalized(side, channels, 3, padding=1), nn.ReLU(), normalized(channels, channels, 3, padding=1)
        )

    def forward(self, below: Tensor, side: Tensor) -> Tensor:
        below, side = self.below(below), self.side(side)
        return F.relu(below * side if self.fusion == "product" else below + side)


class Decoder(nn.Module):
    """An encoder's maps to as many of the same sizes, each told of the smaller ones; the smallest is passed on."""

    def __init__(self, modules: list[Deconvolution]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(modules)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        decoded = [maps[-1]]
        for step, side in zip(reversed(self.steps), reversed(maps[:-1]), strict=True):
            decoded.append(step(decoded[-1], side))
        return decoded[::-1]


class Head(nn.Module):
    """A map's prediction module and its two convolutions, each of `boxes` predictions per cell."""

    def __init__(self, module: nn.Module, channels: int, *, kernel: int, boxes: int, classes: int) -> None:
        super().__init__()
        self.module = module
        self.columns = classes + 1
        self.localisation = nn.Conv2d(channels, boxes * 4, kernel, padding=kernel // 2)
        self.classification = nn.Conv2d(channels, boxes * self.columns, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets [N, cells^2 boxes, 4] and logits [N, cells^2 boxes, classes + 1], by row, column and box."""
        x = self.module(x)
        return _by_box(self.localisation(x), 4), _by_box(self.classification(x), self.columns)


def _by_box(x: Tensor, columns: int) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, columns)
