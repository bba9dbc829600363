"""Attacks on the query image: steps up a loss, within a box around the image and within the range of pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

OVERSHOOT = 2.5
"""Steps of 2.5 epsilon / steps reach the box's edge from anywhere in it, and can turn back (Madry et al. 2018)."""


def pgd(
    loss: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    epsilon: float,
    steps: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Projected gradient ascent on `loss` in the box of half-width `epsilon` around `images`, and in [0, 1].

    x <- clip( x + s sign(grad loss(x)) ),  s = min(epsilon, 2.5 epsilon / steps)

    One step from the image itself is the fast gradient sign method (Goodfellow et al., Explaining and Harnessing
    Adversarial Examples, ICLR 2015, section 4); more are PGD (Madry et al., Towards Deep Learning Models Resistant to
    Adversarial Attacks, ICLR 2018, section 2.1).

    Parameters
    ----------
    loss:
        Images to a scalar, with the network in evaluation mode (see `tasks.networks`). Gradients of parameters are
        neither computed nor touched.
    images:
        [N, 3, S, S] in [0, 1].
    epsilon:
        In units of the pixel range: 8 / 255 is eight grey levels.
    steps:
        0 leaves the images alone, with or without a `generator`.
    generator:
        Draws the start from the box, uniformly, on the CPU; None: the start is the image.

    Returns
    -------
    Tensor
        As `images`, detached.

    Raises
    ------
    ValueError
        `epsilon` is not in [0, 1], `steps` is negative, or a pixel is out of range.

    Examples
    --------
    >>> pgd(lambda x: (x * torch.tensor([1.0, -1.0])).sum(), torch.tensor([0.5, 0.01]), epsilon=0.1, steps=1)
    tensor([0.6000, 0.0000])
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon={epsilon} is out of range; allowed: 0 to 1")
    if steps < 0:
        raise ValueError(f"steps={steps} is out of range; allowed: int >= 0")
    images = images.detach()
    if images.numel() and (images.min() < 0 or images.max() > 1):
        raise ValueError(f"images has pixels from {images.min():.3g} to {images.max():.3g}; allowed: 0 to 1")
    if steps == 0:
        return images
    low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    attacked = images
    if generator is not None:
        shift = torch.rand(images.shape, generator=generator).to(images) * 2 - 1
        attacked = (images + epsilon * shift).clamp(0, 1)
    with torch.enable_grad():
        for _ in range(steps):
            attacked = attacked.requires_grad_()
            (gradient,) = torch.autograd.grad(loss(attacked), attacked)
            moved = attacked.detach() + min(1.0, OVERSHOOT / steps) * epsilon * gradient.sign()
            attacked = torch.minimum(torch.maximum(moved, low), high)
    return attacked.detach()


def gaussian(images: Tensor, *, deviation: float, generator: torch.Generator) -> Tensor:
    """clip(x + deviation N(0, 1)): no attack, but what the code released with the GH paper trains on in its place.

    Parameters
    ----------
    images:
        In [0, 1]; so is the result.
    deviation:
        0.3 in that code, on normalised pixels; in units of the pixel range here.
    generator:
        On the CPU.
    """
    noise = torch.randn(images.shape, generator=generator).to(images)
    return (images + deviation * noise).clamp(0, 1)
