"""Conditional domain adversaries with entropy conditioning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from mtlgrad.compare.problem import Phase
from tasks.uda.backbones.base import Discriminator
from tasks.uda.losses import RandomMap, certainty_weights, domain_confusion, outer_product, reverse
from tasks.uda.schedules import Recipe, ramp
from tasks.uda.systems.base import Batch, System, parameters

EXPLICIT = 4096
"""The widest outer product that a discriminator is given as it is (Long et al. 2018, section 3.1)."""
RANDOM = 1024


class CDANE(System):
    """CDAN+E (Long et al., Conditional Adversarial Domain Adaptation, NeurIPS 2018, Eq. 4 to 8).

    As DANN, with a discriminator of features times predictions, whose rows weigh 1 + e^(-H(p)). Predictions condition
    the discriminator and are no way for its gradient into the classifier; the weights are numbers, not a way for
    gradients either.
    """

    title = "CDAN+E"
    paper = "Long et al., NeurIPS 2018"
    alignment = "entropy-weighted domain loss of D on (reversed features) x (detached predictions)"
    classification = "CE(s)"
    shared = "generator"
    variants: ClassVar = {
        "principled": "weights and predictions detached; the outer product itself up to 4,096 wide",
        "released": "the random map always; reversed gradients flow through the weights into generator and classifier; "
        "the two tasks' weights multiply whole losses, the discriminator's included",
    }
    defaults: ClassVar = {"tradeoff": 1.0, "hidden": 256, "dropout": 0.0}
    published = Recipe("sgd", lr=0.01, schedule="inverse", momentum=0.9, nesterov=True, weight_decay=5e-4, trunk=0.1)

    def build(self) -> None:
        self.generator = self.add_backbone()
        self.classifier = self.add_classifier("classifier", self.generator)
        width, classes = self.generator.width, self.setting.classes
        self.released = self.setting.variant == "released"
        self.random_map = None
        if self.released or width * classes > EXPLICIT:
            self.random_map = self.add_network("random_map", RandomMap(width, classes, out=RANDOM))
        entering = width * classes if self.random_map is None else RANDOM
        judge = Discriminator(entering, self.settings["hidden"], dropout=self.settings["dropout"])
        self.discriminator = self.add_network("discriminator", judge)
        self.add_optimizer("model", "generator", "classifier")
        self.add_optimizer("discriminator", "discriminator")

    def judge(self, features: Tensor, logits: Tensor, coefficient: float) -> tuple[Tensor, Tensor]:
        """The discriminator's logits of a batch, and the weights of its rows."""
        predictions = logits.detach().softmax(dim=1)
        combine = outer_product if self.random_map is None else self.random_map
        judged = self.discriminator(combine(reverse(features, coefficient), predictions))
        weights = certainty_weights(reverse(logits, coefficient) if self.released else logits.detach())
        return judged, weights

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        source, target = self.both(self.generator, batch)
        logits, target_logits = self.classifier(source), self.classifier(target)
        coefficient = ramp(self.progress(index))
        judged_source, source_weights = self.judge(source, logits, coefficient)
        judged_target, target_weights = self.judge(target, target_logits, coefficient)
        confusion = domain_confusion(
            judged_source, judged_target, source_weights=source_weights, target_weights=target_weights
        )
        yield Phase(
            "adapt",
            {
                "alignment": self.settings["tradeoff"] * confusion,
                "classification": F.cross_entropy(logits, batch.labels),
            },
            (self.optimizers["model"], self.optimizers["discriminator"]),
            shared=parameters(self.generator, self.classifier) if self.released else parameters(self.generator),
            apply="loss" if self.released else "shared",
        )
