"""Depthwise convolution of maps of a few pixels, as one matrix a channel."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_PIXELS = 36
"""Of a map that is multiplied by a matrix: 6 by 6. Beyond it, a convolution is the faster way."""

Pair = tuple[int, int]
Sides = tuple[int, int, int, int]


class SmallDepthwise(nn.Module):
    """A depthwise convolution with the weights of another; of small maps, several times faster in training on a CPU.

    With a map's pixels as a vector, convolution is its product with a matrix that holds each kernel weight wherever it
    connects two pixels. Torch's weight gradient of a 5 by 5 kernel on maps of 3 by 3, with 1152 channels and 16 images,
    takes twenty times as long as its convolution; the products' takes about as long.

    Args:
        convolution: with as many groups as channels, and no bias. Its `static_padding`, if it has one, is kept.

    >>> convolution = nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)
    >>> maps = torch.rand(2, 8, 3, 3)
    >>> torch.allclose(SmallDepthwise(convolution)(maps), convolution(maps), atol=1e-6)
    True
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        if convolution.groups != convolution.in_channels or convolution.groups != convolution.out_channels:
            raise ValueError(f"convolution must have as many groups as channels in and out, got {convolution}")
        if convolution.bias is not None or convolution.dilation != (1, 1) or isinstance(convolution.padding, str):
            raise ValueError(f"convolution must have no bias, no dilation and padding in numbers, got {convolution}")
        self.weight = convolution.weight
        self.stride = _pair(convolution.stride)
        high, wide = _pair(convolution.padding)
        fixed = getattr(getattr(convolution, "static_padding", None), "padding", (0, 0, 0, 0))
        self.sides: Sides = (fixed[0] + wide, fixed[1] + wide, fixed[2] + high, fixed[3] + high)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [N, C, H, W] to maps [N, C, H', W']."""
        if maps[0, 0].numel() > MOST_PIXELS:
            padded = functional.pad(maps, self.sides)
            return functional.conv2d(padded, self.weight, stride=self.stride, groups=len(self.weight))
        places, size = _places(_pair(maps.shape[2:]), _pair(self.weight.shape[2:]), self.stride, self.sides)
        matrices = (self.weight.flatten(1) @ places.to(self.weight)).unflatten(1, (maps[0, 0].numel(), -1))
        by_channel = torch.bmm(maps.flatten(2).transpose(0, 1), matrices)
        out: Tensor = by_channel.transpose(0, 1).unflatten(2, size)
        return out.contiguous()  # batch norm is slower on the view


def _pair(values: Any) -> Pair:
    high, wide = values
    return int(high), int(wide)


@cache
def _places(size: Pair, kernel: Pair, stride: Pair, sides: Sides) -> tuple[Tensor, Pair]:
    """1 where a weight of the kernel connects a pixel to a pixel that comes out: [KK, HW H'W'], and (H', W')."""
    left, right, top, bottom = sides
    pixels = torch.eye(size[0] * size[1]).unflatten(1, (1, *size))
    seen = functional.unfold(functional.pad(pixels, (left, right, top, bottom)), kernel, stride=stride)
    out = (
        (size[0] + top + bottom - kernel[0]) // stride[0] + 1,
        (size[1] + left + right - kernel[1]) // stride[1] + 1,
    )
    return seen.transpose(0, 1).flatten(1).contiguous(), out
