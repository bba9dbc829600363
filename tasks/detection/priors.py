"""Prior boxes: the fixed boxes that a detector's predictions are offsets of."""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.detection.config import Config, PriorMap


def priors(config: Config) -> Tensor:
    """Prior boxes [P, 4] as (centre x, centre y, width, height), in units of the image's side.

    Ordered by map, row, column, box: the two squares first, then each ratio and its transpose. Boxes may reach beyond
    the image; nothing is clipped, as published for DSSD321.

    Examples
    --------
    >>> from tasks.detection.config import CONFIGS
    >>> boxes = priors(CONFIGS["dssd321"])
    >>> boxes.shape
    torch.Size([17080, 4])
    >>> boxes[0] * 321
    tensor([ 2.5000,  2.5000, 32.1000, 32.1000])
    """
    return torch.cat([_of_map(prior) for prior in config.priors]) / config.size


def _of_map(prior: PriorMap) -> Tensor:
    low, middle = prior.low, (prior.low * prior.high) ** 0.5
    shapes = [(low, low), (middle, middle)]
    for ratio in prior.ratios:
        long, short = low * ratio**0.5, low / ratio**0.5
        shapes += [(long, short), (short, long)]
    centres = torch.arange(prior.cells) * prior.step + prior.offset
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    places = torch.stack([x, y], dim=-1).reshape(-1, 1, 2).expand(-1, prior.boxes, -1)
    sizes = torch.tensor(shapes).expand(len(places), -1, -1)
    return torch.cat([places, sizes], dim=-1).reshape(-1, 4)
