"""Deep adaptation networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch.nn.functional as F

from mtlgrad.compare.problem import Phase
from tasks.uda.losses import Gaussian, kernel_mmd
from tasks.uda.schedules import Recipe
from tasks.uda.systems.base import Batch, System


class DAN(System):
    """DAN (Long et al., Learning Transferable Features with Deep Adaptation Networks, ICML 2015, Eq. 4).

    Alignment is the multi-kernel MMD of the features, five Gaussians around the mean squared distance, unbiased. The
    weights of the kernels are not learned: all count alike, as in the authors' later code.
    """

    title = "DAN"
    paper = "Long et al., ICML 2015"
    alignment = "multi-kernel MMD of the features"
    classification = "CE(s)"
    shared = "generator"
    variants: ClassVar[Mapping[str, str]] = {"principled": "kernels count alike; its paper learns their weights"}
    defaults: ClassVar = {"tradeoff": 1.0}
    published = Recipe("sgd", lr=0.003, schedule="inverse", momentum=0.9, nesterov=True, weight_decay=5e-4, trunk=0.1)

    def build(self) -> None:
        self.generator = self.add_backbone()
        self.classifier = self.add_classifier("classifier", self.generator)
        self.add_optimizer("model", "generator", "classifier")

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        source, target = self.both(self.generator, batch)
        yield self.adapt(
            self.settings["tradeoff"] * kernel_mmd([source], [target], [Gaussian()]),
            F.cross_entropy(self.classifier(source), batch.labels),
            self.generator,
        )
