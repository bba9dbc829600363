"""Margin disparity discrepancy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F

from mtlgrad.compare.problem import Phase
from tasks.uda.losses import margin_disparity, reverse
from tasks.uda.schedules import Recipe, ramp
from tasks.uda.systems.base import Batch, System


class MDD(System):
    """MDD (Zhang et al., Bridging Theory and Algorithm for Domain Adaptation, ICML 2019, Eq. 27 to 30).

    An adversary of the classifier's shape agrees with it on the source, `margin` times as eagerly as it disagrees on
    the target; the generator's gradient of that is reversed, times a coefficient that grows to `reversal`.
    """

    title = "MDD"
    paper = "Zhang et al., ICML 2019"
    alignment = "margin disparity of an adversarial classifier on reversed features"
    classification = "CE(s)"
    shared = "generator"
    defaults: ClassVar = {"tradeoff": 1.0, "margin": 4.0, "reversal": 0.1}
    published = Recipe("sgd", lr=0.004, schedule="inverse", momentum=0.9, nesterov=True, weight_decay=5e-4, trunk=0.1)

    def build(self) -> None:
        self.generator = self.add_backbone()
        self.classifier = self.add_classifier("classifier", self.generator)
        self.adversary = self.add_classifier("adversary", self.generator)
        self.add_optimizer("model", "generator", "classifier")
        self.add_optimizer("adversary", "adversary")

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        source, target = self.both(self.generator, batch)
        logits = self.classifier(source)
        coefficient = ramp(self.progress(index), high=self.settings["reversal"])
        disparity = margin_disparity(
            self.adversary(reverse(source, coefficient)),
            logits.detach().argmax(dim=1),
            self.adversary(reverse(target, coefficient)),
            self.classifier(target).detach().argmax(dim=1),
            margin=self.settings["margin"],
        )
        yield self.adapt(
            self.settings["tradeoff"] * disparity,
            F.cross_entropy(logits, batch.labels),
            self.generator,
            optimizers=("model", "adversary"),
        )
