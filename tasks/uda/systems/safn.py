"""Stepwise adaptive feature norms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F

from mtlgrad.compare.problem import Phase
from tasks.uda.losses import stepwise_norms
from tasks.uda.schedules import Recipe
from tasks.uda.systems.base import Batch, System
from tasks.uda.systems.dan import DAN


class SAFN(DAN):
    """SAFN (Xu et al., Larger Norm More Transferable, ICCV 2019, Eq. 6).

    Alignment makes the features of both domains longer, by `growth` a step; `tradeoff` is lambda.
    """

    title = "SAFN"
    paper = "Xu et al., ICCV 2019"
    alignment = "stepwise growth of the features' lengths, in both domains"
    classification = "CE(s)"
    shared = "generator"
    variants = System.variants
    defaults: ClassVar = {"tradeoff": 0.05, "growth": 1.0}
    published = Recipe("sgd", lr=1e-3, schedule="constant", momentum=0.9, weight_decay=5e-4)

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        source, target = self.both(self.generator, batch)
        growth = [stepwise_norms(one, step=self.settings["growth"]) for one in (source, target)]
        yield self.adapt(
            self.settings["tradeoff"] * (growth[0] + growth[1]),
            F.cross_entropy(self.classifier(source), batch.labels),
            self.generator,
        )
