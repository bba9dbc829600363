"""Batch spectral penalization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F

from mtlgrad.compare.problem import Phase
from tasks.uda.losses import domain_confusion, reverse, spectral_penalty
from tasks.uda.schedules import ramp
from tasks.uda.systems.base import Batch
from tasks.uda.systems.dann import DANN


class BSP(DANN):
    """BSP (Chen et al., Transferability vs. Discriminability: Batch Spectral Penalization, ICML 2019, Eq. 8).

    DANN, whose alignment also penalises `penalty` times the square of the largest singular value of the features, in
    either domain.
    """

    title = "BSP"
    paper = "Chen et al., ICML 2019"
    alignment = "domain loss of D on reversed features, plus the largest singular values of the features"
    classification = "CE(s)"
    shared = "generator"
    defaults: ClassVar = {**DANN.defaults, "penalty": 1e-4}

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        source, target = self.both(self.generator, batch)
        coefficient = ramp(self.progress(index))
        confusion = domain_confusion(
            self.discriminator(reverse(source, coefficient)), self.discriminator(reverse(target, coefficient))
        )
        penalty = spectral_penalty(source) + spectral_penalty(target)
        yield self.adapt(
            self.settings["tradeoff"] * confusion + self.settings["penalty"] * penalty,
            F.cross_entropy(self.classifier(source), batch.labels),
            self.generator,
            optimizers=("model", "discriminator"),
        )
