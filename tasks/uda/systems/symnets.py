"""Domain-symmetric networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlgrad.compare.problem import Phase
from tasks.uda.schedules import Recipe, ramp
from tasks.uda.systems.base import Batch, System


class SymNets(System):
    """SymNets (Zhang et al., Domain-Symmetric Networks for Adversarial Domain Adaptation, CVPR 2019, Eq. 5 to 10).

    Two classifiers, one a domain, whose 2 K outputs under one softmax also tell the domains. Classifiers: CE(s) of
    both, and the domain of either batch. Generator: *classification* is confusion of the true class's two outputs
    (Eq. 7); *alignment* is, times a weight that grows with the run, confusion of the domains on the target (Eq. 8)
    and the entropy of the classes there (Eq. 9). The target's classifier predicts.
    """

    title = "SymNets"
    paper = "Zhang et al., CVPR 2019"
    alignment = "domain-level confusion and class entropy on the target, in the generator's step"
    classification = "category-level confusion on the source, in the generator's step"
    shared = "generator"
    defaults: ClassVar = {"tradeoff": 1.0}
    pairs = ("generator",)
    published = Recipe("sgd", lr=0.01, schedule="inverse", momentum=0.9, weight_decay=1e-4, trunk=0.1)

    def build(self) -> None:
        self.generator = self.add_backbone()
        self.classifiers = [self.add_classifier(f"classifier {side}", self.generator) for side in ("s", "t")]
        self.add_optimizer("generator", "generator")
        self.add_optimizer("classifiers", "classifier s", "classifier t")

    def classify(self, features: Tensor) -> list[Tensor]:
        """Logits of the source's and the target's classifier."""
        return [classifier(features) for classifier in self.classifiers]

    def source_logits(self, images: Tensor) -> list[Tensor]:
        return self.classify(self.generator(images))

    def trained_on_source(self) -> list[torch.optim.Optimizer]:
        return list(self.optimizers.values())

    def predicted(self, features: Tensor) -> Tensor:
        return self.classify(features)[1].softmax(dim=1)

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        with torch.no_grad():
            source, target = self.both(self.generator, batch)
        logits, target_logits = self.classify(source), self.classify(target)
        kept = torch.stack([F.cross_entropy(one, batch.labels) for one in logits]).sum()
        told = -(domain_logarithms(logits)[0] + domain_logarithms(target_logits)[1]).mean()
        yield Phase("classifiers", {"classifiers": kept + told}, (self.optimizers["classifiers"],))
        source, target = self.both(self.generator, batch)
        weight = self.settings["tradeoff"] * ramp(self.progress(index))
        yield self.adapt(
            weight * (domain_confusion_of_outputs(self.classify(target)) + class_entropy(self.classify(target))),
            category_confusion(self.classify(source), batch.labels),
            self.generator,
            optimizers=("generator",),
            name="generator",
        )


def joint_logarithms(logits: list[Tensor]) -> Tensor:
    """Log-probabilities of both classifiers under one softmax, two of [N, K] to [N, 2, K]."""
    both = torch.cat(logits, dim=1).log_softmax(dim=1)
    return torch.stack(both.chunk(2, dim=1), dim=1)


def domain_logarithms(logits: list[Tensor]) -> Tensor:
    """Log-probabilities of source and target, [2, N]."""
    return joint_logarithms(logits).logsumexp(dim=2).T


def category_confusion(logits: list[Tensor], labels: Tensor) -> Tensor:
    """Minus the mean logarithm of the true class in both halves (Eq. 7)."""
    chosen = labels[:, None, None].expand(-1, 2, 1)
    return -joint_logarithms(logits).gather(2, chosen).mean()


def domain_confusion_of_outputs(logits: list[Tensor]) -> Tensor:
    """Minus the mean logarithm of both domains (Eq. 8)."""
    return -domain_logarithms(logits).mean()


def class_entropy(logits: list[Tensor]) -> Tensor:
    """The entropy of the classes, the two halves of each added (Eq. 9)."""
    logarithms = joint_logarithms(logits).logsumexp(dim=1)
    return -(logarithms.exp() * logarithms).sum(dim=1).mean()
