"""Feature gradient distribution alignment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlgrad.compare.problem import Phase
from tasks.uda.backbones.base import Discriminator
from tasks.uda.losses import domain_confusion, reverse
from tasks.uda.schedules import Recipe, ramp
from tasks.uda.systems.base import Batch
from tasks.uda.systems.dann import DANN


class FGDA(DANN):
    """FGDA (Gao et al., Gradient Distribution Alignment Certificates Better Adversarial Domain Adaptation, ICCV 2021).

    DANN, and beside the discriminator of features a second one of *feature gradients*: those of a row's cross-entropy
    over its features, with the label on the source and the classifier's own guess on the target. The generator makes
    both kinds alike in the two domains, which needs second derivatives.
    """

    title = "FGDA"
    paper = "Gao et al., ICCV 2021"
    alignment = "domain losses on reversed features and on reversed feature gradients"
    classification = "CE(s)"
    shared = "generator and classifier: feature gradients pass through it"
    defaults: ClassVar = {**DANN.defaults, "gradient": 1.0}
    published = Recipe("sgd", lr=0.01, schedule="inverse", momentum=0.9, weight_decay=1e-3, trunk=0.1)

    def build(self) -> None:
        super().build()
        self.gradient_discriminator = self.add_network(
            "gradient discriminator", Discriminator(self.generator.width, self.settings["hidden"])
        )
        self.add_optimizer("gradient discriminator", "gradient discriminator")

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        source, target = self.both(self.generator, batch)
        logits, target_logits = self.classifier(source), self.classifier(target)
        coefficient = ramp(self.progress(index))
        confusion = domain_confusion(
            self.discriminator(reverse(source, coefficient)), self.discriminator(reverse(target, coefficient))
        )
        guessed = target_logits.detach().argmax(dim=1)
        judged = [
            self.gradient_discriminator(reverse(feature_gradients(features, own, labels), coefficient))
            for features, own, labels in ((source, logits, batch.labels), (target, target_logits, guessed))
        ]
        gradients = self.settings["gradient"] * domain_confusion(*judged)
        yield self.adapt(
            self.settings["tradeoff"] * (confusion + gradients),
            F.cross_entropy(logits, batch.labels),
            self.generator,
            self.classifier,
            optimizers=("model", "discriminator", "gradient discriminator"),
        )


def feature_gradients(features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each row's cross-entropy over its features, [N, D]; differentiable."""
    loss = F.cross_entropy(logits, labels, reduction="sum")
    return torch.autograd.grad(loss, features, create_graph=True)[0]
