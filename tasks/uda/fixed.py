"""What stands before a backbone and is never trained: every image passes it once, before training."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from tasks.uda.backbones import FIXED
from tasks.uda.data import Domain, Split, normalize

_TOGETHER = 64


def behind_fixed(backbone: str | None, domains: dict[str, Domain], device: torch.device) -> dict[str, Domain]:
    """The domains as `backbone` is given them: as they are, or as the maps of its fixed layers.

    Raises
    ------
    ValueError
        The backbone has fixed layers, and the images are photographs of which training sees other crops every time.
    """
    if backbone not in FIXED:
        return domains
    channels, size = domains["source"].train.images.shape[1:3]
    layers = FIXED[backbone](channels, size).to(device)
    return {role: _mapped(backbone, domain, layers, device) for role, domain in domains.items()}


def _mapped(backbone: str, domain: Domain, layers: nn.Module, device: torch.device) -> Domain:
    def mapped(part: Split) -> Split:
        if not isinstance(part.images, Tensor):
            raise ValueError(
                f"backbone={backbone!r} keeps what its fixed layers make of an image, and training sees {domain.name} "
                "in crops that are drawn anew each time; allowed: domains of images used whole, or another backbone"
            )
        with torch.no_grad():
            maps = [layers(normalize(images.to(device))).cpu() for images in part.images.split(_TOGETHER)]
        return Split(torch.cat(maps), part.labels)

    return replace(domain, train=mapped(domain.train), validation=mapped(domain.validation), test=mapped(domain.test))
