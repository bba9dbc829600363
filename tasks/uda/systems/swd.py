"""Sliced Wasserstein discrepancy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from mtlgrad.compare.problem import Phase
from tasks.sampling import stream_seed
from tasks.uda.losses import sliced_wasserstein
from tasks.uda.schedules import Recipe
from tasks.uda.systems.base import Batch
from tasks.uda.systems.mcd import MCD


class SWD(MCD):
    """SWD (Lee et al., Sliced Wasserstein Discrepancy for Unsupervised Domain Adaptation, CVPR 2019, Eq. 5).

    MCD, with the sliced Wasserstein distance of the two classifiers' predictions, along `directions` drawn anew each
    time, in place of their mean absolute difference.
    """

    title = "SWD"
    paper = "Lee et al., CVPR 2019"
    alignment = "sliced Wasserstein distance of two classifiers on the target, in step C"
    classification = "CE(s), summed over both classifiers"
    shared = "generator"
    variants: ClassVar = {"principled": "the generator's step C holds both tasks"}
    # the distance is a mean of squares of small numbers: beside CE it has to be weighed more than MCD's
    defaults: ClassVar = {"tradeoff": 50.0, "generator_steps": 2, "directions": 128}
    published = Recipe("adam", lr=2e-4, schedule="constant", weight_decay=5e-4)

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        self.draws = torch.Generator().manual_seed(stream_seed(self.setting.seed, "swd", index))
        yield from super().step(batch, index)

    def apart(self, logits: list[Tensor]) -> Tensor:
        first, second = (one.softmax(dim=1) for one in logits)
        directions = torch.randn(first.shape[1], self.settings["directions"], generator=self.draws)
        return sliced_wasserstein(first, second, directions.to(first.device))
