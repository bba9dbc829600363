"""What stands before a backbone and is never trained: every image passes it once, before training."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from torch import Tensor

from tasks.networks import seeded
from tasks.uda.backbones import FIXED
from tasks.uda.data import Domain, Split, normalize

_TOGETHER = 64
_PARTS = 6  # three of the source, three of the target


def behind_fixed(backbone: str | None, domains: dict[str, Domain], device: torch.device) -> dict[str, Domain]:
    """The domains as `backbone` is given them: as they are, or as the maps of its fixed layers.

    The maps of the last pair are kept, so that the next run of this process has them at once.

    Raises
    ------
    ValueError
        The backbone has fixed layers, and the images are photographs of which training sees other crops every time.
    """
    if backbone not in FIXED:
        return domains
    return {role: _mapped(backbone, domain, device) for role, domain in domains.items()}


def _mapped(backbone: str, domain: Domain, device: torch.device) -> Domain:
    def mapped(part: Split) -> Split:
        if not isinstance(part.images, Tensor):
            raise ValueError(
                f"backbone={backbone!r} keeps what its fixed layers make of an image, and training sees {domain.name} "
                "in crops that are drawn anew each time; allowed: domains of images used whole, or another backbone"
            )
        return Split(_maps(backbone, _Pixels.of(part.images), device), part.labels)

    return replace(domain, train=mapped(domain.train), validation=mapped(domain.validation), test=mapped(domain.test))


@dataclass(frozen=True)
class _Pixels:
    """Images that are equal to others of the same content: loaders make new tensors for every run."""

    digest: str
    shape: torch.Size
    images: Tensor = field(compare=False)

    @classmethod
    def of(cls, images: Tensor) -> _Pixels:
        return cls(hashlib.sha256(images.contiguous().numpy().data).hexdigest(), images.shape, images)


@lru_cache(maxsize=_PARTS)
def _maps(backbone: str, pixels: _Pixels, device: torch.device) -> Tensor:
    with seeded(0):  # what follows draws as it does where the maps are there already
        layers = FIXED[backbone](*pixels.images.shape[1:3]).to(device)
    with torch.no_grad():
        return torch.cat([layers(normalize(part.to(device))).cpu() for part in pixels.images.split(_TOGETHER)])
