"""Adversarial discriminative domain adaptation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlgrad.compare.problem import Phase
from tasks.networks import evaluating
from tasks.uda.backbones.base import Discriminator
from tasks.uda.losses import domain_confusion
from tasks.uda.schedules import Recipe
from tasks.uda.systems.base import Batch, System


class ADDA(System):
    """ADDA (Tzeng et al., Adversarial Discriminative Domain Adaptation, CVPR 2017, Eq. 9).

    The first half of a run trains generator and classifier on the source. Then a second generator starts as a copy of
    the first, which stays as it is, and learns against a discriminator of the two, with inverted labels. It has one
    loss, so that there is no pair to join: a method makes no difference here.
    """

    title = "ADDA"
    paper = "Tzeng et al., CVPR 2017"
    alignment = "BCE of D on the target's features with inverted labels, the one loss of the target's generator"
    classification = "CE(s), in the first half of the run"
    shared = "nothing: the target's generator has one loss"
    defaults: ClassVar = {"hidden": 256}
    published = Recipe("adam", lr=2e-4, schedule="constant", weight_decay=2.5e-5)
    pairs = ()
    source_first = 0.5

    def build(self) -> None:
        self.generator = self.add_backbone()
        self.classifier = self.add_classifier("classifier", self.generator)
        self.target_generator = self.add_backbone("target generator")
        self.discriminator = self.add_network(
            "discriminator", Discriminator(self.generator.width, self.settings["hidden"])
        )
        self.add_optimizer("model", "generator", "classifier")
        self.add_optimizer("target generator", "target generator")
        self.add_optimizer("discriminator", "discriminator")
        self.copied = False

    def features(self, images: Tensor, *, source: bool = False) -> Tensor:
        features: Tensor = (self.target_generator if self.copied and not source else self.generator)(images)
        return features

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        if not self.copied:
            self.target_generator.load_state_dict(self.generator.state_dict())
            self.copied = True
        with torch.no_grad():
            with evaluating(self.generator):  # or its batch norm would go on learning
                source = self.generator(batch.source)
            fixed = self.target_generator(batch.target)
        told = domain_confusion(self.discriminator(source), self.discriminator(fixed))
        yield Phase("D", {"domain": told}, (self.optimizers["discriminator"],))
        judged = self.discriminator(self.target_generator(batch.target))
        fooled = F.binary_cross_entropy_with_logits(judged, torch.ones_like(judged))
        yield Phase("target", {"alignment": fooled}, (self.optimizers["target generator"],))

    def extra_state(self) -> dict[str, Any]:
        return {"copied": self.copied}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.copied = state["copied"]
