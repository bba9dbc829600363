"""Domain-adversarial neural networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F

from mtlgrad.compare.problem import Phase
from tasks.uda.backbones.base import Discriminator
from tasks.uda.losses import domain_confusion, reverse
from tasks.uda.schedules import Recipe, ramp
from tasks.uda.systems.base import Batch, System, parameters


class DANN(System):
    """DANN (Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 2016, Eq. 10 to 18).

    One phase: D learns to tell the domains by their features, and the generator's gradient of the same loss is
    reversed, times a coefficient that grows with the run (`tasks.uda.schedules.ramp`).
    """

    title = "DANN"
    paper = "Ganin et al., JMLR 2016"
    alignment = "domain loss of D on reversed features"
    classification = "CE(s)"
    shared = "generator"
    defaults: ClassVar = {"tradeoff": 1.0, "hidden": 256}
    published = Recipe("sgd", lr=0.01, schedule="inverse", momentum=0.9, weight_decay=1e-3, trunk=0.1)

    def build(self) -> None:
        self.generator = self.add_backbone()
        self.classifier = self.add_classifier("classifier", self.generator)
        self.discriminator = self.add_network(
            "discriminator", Discriminator(self.generator.width, self.settings["hidden"])
        )
        self.add_optimizer("model", "generator", "classifier")
        self.add_optimizer("discriminator", "discriminator")

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        source, target = self.both(self.generator, batch)
        coefficient = ramp(self.progress(index))
        confusion = domain_confusion(
            self.discriminator(reverse(source, coefficient)), self.discriminator(reverse(target, coefficient))
        )
        yield Phase(
            "adapt",
            {
                "alignment": self.settings["tradeoff"] * confusion,
                "classification": F.cross_entropy(self.classifier(source), batch.labels),
            },
            (self.optimizers["model"], self.optimizers["discriminator"]),
            shared=parameters(self.generator),
        )
