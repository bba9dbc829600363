"""Joint adaptation networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F

from mtlgrad.compare.problem import Phase
from tasks.uda.losses import Gaussian, kernel_mmd
from tasks.uda.schedules import Recipe
from tasks.uda.systems.base import Batch, System
from tasks.uda.systems.dan import DAN

PREDICTIONS = Gaussian((1.0,), bandwidth=0.92**2)


class JAN(DAN):
    """JAN (Long et al., Deep Transfer Learning with Joint Adaptation Networks, ICML 2017, Eq. 10 to 12).

    Alignment is the MMD of features and predictions together: the kernel of the features, as in DAN, times one of the
    predictions, whose width is .92. The variant with an adversary (JAN-A) is not this.
    """

    title = "JAN"
    paper = "Long et al., ICML 2017"
    alignment = "joint MMD of features and predictions"
    classification = "CE(s)"
    shared = "generator and classifier: predictions are aligned too"
    variants = System.variants
    defaults: ClassVar = {"tradeoff": 1.0}
    published = Recipe("sgd", lr=0.003, schedule="inverse", momentum=0.9, nesterov=True, weight_decay=5e-4, trunk=0.1)

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        features = self.both(self.generator, batch)
        logits = [self.classifier(one) for one in features]
        layers = [[one, own.softmax(dim=1)] for one, own in zip(features, logits, strict=True)]
        yield self.adapt(
            self.settings["tradeoff"] * kernel_mmd(layers[0], layers[1], [Gaussian(), PREDICTIONS]),
            F.cross_entropy(logits[0], batch.labels),
            self.generator,
            self.classifier,
        )
