"""Gradually vanishing bridges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from mtlgrad.compare.problem import Phase
from tasks.uda.losses import certainty_weights, domain_confusion, reverse
from tasks.uda.schedules import Recipe, ramp
from tasks.uda.systems.base import Batch, System, parameters


class _BridgedDiscriminator(nn.Module):
    """Predictions [N, K] to the discriminator's logit and its bridge, both [N, 1]."""

    def __init__(self, classes: int, hidden: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(classes, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.logit = nn.Linear(hidden, 1)
        self.bridge = nn.Linear(hidden, 1)

    def forward(self, predictions: Tensor) -> tuple[Tensor, Tensor]:
        inner = self.trunk(predictions)
        return self.logit(inner), self.bridge(inner)


class GVB(System):
    """GVB-GD (Cui et al., Gradually Vanishing Bridge for Adversarial Domain Adaptation, CVPR 2020, Eq. 5 to 10).

    The classifier's logits are fc(f) - bridge(f), and the discriminator, which sees the predictions, has a bridge of
    its own: logit(h) - bridge(h). Alignment is the domain loss with rows weighing e^(-H(p)), plus `bridge` times the
    mean |bridge(f)|, plus `discriminator_bridge` times the mean |bridge(h)|; what the discriminator sees is reversed.
    The weights of rows are numbers and carry no gradient.
    """

    title = "GVB-GD"
    paper = "Cui et al., CVPR 2020"
    alignment = "entropy-weighted domain loss of D on reversed predictions, and the mean size of both bridges"
    classification = "CE(s)"
    shared = "generator, classifier and its bridge: the discriminator sees predictions"
    defaults: ClassVar = {"tradeoff": 1.0, "bridge": 1.0, "discriminator_bridge": 1.0, "hidden": 256}
    published = Recipe("sgd", lr=1e-2, schedule="inverse", momentum=0.9, nesterov=True, weight_decay=1e-3, trunk=0.1)

    def build(self) -> None:
        self.generator = self.add_backbone()
        self.classifier = self.add_classifier("classifier", self.generator)
        self.bridge = self.add_network("bridge", nn.Linear(self.generator.width, self.setting.classes))
        self.discriminator = self.add_network(
            "discriminator", _BridgedDiscriminator(self.setting.classes, self.settings["hidden"])
        )
        self.add_optimizer("model", "generator", "classifier", "bridge")
        self.add_optimizer("discriminator", "discriminator")

    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, K], and what the bridge took from them."""
        bridge = self.bridge(features)
        return self.classifier(features) - bridge, bridge

    def source_logits(self, images: Tensor) -> list[Tensor]:
        return [self.classify(self.generator(images))[0]]

    def predicted(self, features: Tensor) -> Tensor:
        return self.classify(features)[0].softmax(dim=1)

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        coefficient = ramp(self.progress(index))
        logits, judged, weights, bridges, judges_bridges = [], [], [], [], []
        for features in self.both(self.generator, batch):
            own, bridge = self.classify(features)
            verdict, judges_bridge = self.discriminator(reverse(own.softmax(dim=1), coefficient))
            logits.append(own)
            bridges.append(bridge.abs().mean())
            judged.append(verdict - judges_bridge)
            judges_bridges.append(judges_bridge.abs().mean())
            weights.append(certainty_weights(own.detach(), plus_one=False))
        confusion = domain_confusion(*judged, source_weights=weights[0], target_weights=weights[1])
        vanishing = (
            self.settings["bridge"] * sum(bridges) / 2 + self.settings["discriminator_bridge"] * sum(judges_bridges) / 2
        )
        yield Phase(
            "adapt",
            {
                "alignment": self.settings["tradeoff"] * confusion + vanishing,
                "classification": F.cross_entropy(logits[0], batch.labels),
            },
            (self.optimizers["model"], self.optimizers["discriminator"]),
            shared=parameters(self.generator, self.classifier, self.bridge),
        )
