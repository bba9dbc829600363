"""A depthwise convolution as matrices is the convolution: values, gradients, whatever its stride and padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tasks.uda.backbones.depthwise import SmallDepthwise

FEW = st.integers(0, 2)


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(FEW, FEW),
    sides=st.one_of(st.none(), st.tuples(FEW, FEW, FEW, FEW)),
    channels=st.integers(1, 3),
)
def test_values_and_gradients_are_those_of_the_convolution(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    sides: tuple[int, int, int, int] | None,
    channels: int,
) -> None:
    left, right, top, bottom = sides or (0, 0, 0, 0)
    high, wide = size[0] + 2 * padding[0] + top + bottom, size[1] + 2 * padding[1] + left + right
    kernel = (min(kernel[0], high), min(kernel[1], wide))
    plain = nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels, bias=False, dtype=torch.float64)
    pad = nn.Identity() if sides is None else nn.ZeroPad2d(sides)
    expected_of = nn.Sequential(pad, plain)
    if sides is not None:
        plain.static_padding = pad
    maps = torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)
    expected = expected_of(maps)
    found = SmallDepthwise(plain)(maps)
    torch.testing.assert_close(found, expected)
    towards = torch.randn_like(expected)
    inputs = (maps, plain.weight)
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs, towards), torch.autograd.grad(expected, inputs, towards)
    )


def test_small_maps_are_multiplied_and_larger_ones_convolved(monkeypatch: pytest.MonkeyPatch) -> None:
    convolved = []
    convolve = nn.functional.conv2d
    monkeypatch.setattr(nn.functional, "conv2d", lambda *args, **more: convolved.append(1) or convolve(*args, **more))
    small = SmallDepthwise(nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False))
    small(torch.randn(1, 4, 6, 6))
    assert not convolved
    small(torch.randn(1, 4, 7, 7))
    assert convolved


@pytest.mark.parametrize(
    ("convolution", "told"),
    [
        (nn.Conv2d(4, 8, 3, groups=4, bias=False), "as many groups as channels"),
        (nn.Conv2d(4, 4, 3, bias=False), "as many groups as channels"),
        (nn.Conv2d(4, 4, 3, groups=4), "no bias"),
        (nn.Conv2d(4, 4, 3, groups=4, bias=False, dilation=2), "no dilation"),
        (nn.Conv2d(4, 4, 3, groups=4, bias=False, padding="same"), "padding in numbers"),
    ],
)
def test_other_convolutions_are_refused(convolution: nn.Conv2d, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SmallDepthwise(convolution)
