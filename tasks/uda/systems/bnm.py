"""Batch nuclear-norm maximization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F

from mtlgrad.compare.problem import Phase
from tasks.uda.losses import nuclear_norm
from tasks.uda.schedules import Recipe
from tasks.uda.systems.base import Batch, System
from tasks.uda.systems.dan import DAN


class BNM(DAN):
    """BNM (Cui et al., Towards Discriminability and Diversity: Batch Nuclear-norm Maximization, CVPR 2020, Eq. 9).

    Alignment is minus the nuclear norm of the target's predictions, over the batch size. It needs no adversary and
    never compares the domains.
    """

    title = "BNM"
    paper = "Cui et al., CVPR 2020"
    alignment = "minus the nuclear norm of the target's predictions"
    classification = "CE(s)"
    shared = "generator and classifier: predictions are what is aligned"
    variants = System.variants
    defaults: ClassVar = {"tradeoff": 1.0}
    published = Recipe("sgd", lr=0.01, schedule="inverse", momentum=0.9, nesterov=True, weight_decay=5e-4, trunk=0.1)

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        logits, target = (self.classifier(one) for one in self.both(self.generator, batch))
        yield self.adapt(
            -self.settings["tradeoff"] * nuclear_norm(target.softmax(dim=1)),
            F.cross_entropy(logits, batch.labels),
            self.generator,
            self.classifier,
        )
