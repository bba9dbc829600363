"""Maximum classifier discrepancy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from mtlgrad.compare.problem import Phase
from tasks.uda.losses import classification, discrepancy, ensemble
from tasks.uda.schedules import Recipe
from tasks.uda.systems.base import Batch, System, parameters


class MCD(System):
    """MCD (Saito et al., Maximum Classifier Discrepancy for Unsupervised Domain Adaptation, CVPR 2018, section 3.3).

    Generator G, classifiers C1 and C2, CE the cross-entropy summed over both, d their discrepancy times `tradeoff` (1
    in the paper; short runs barely move the generator at 1).

    - A: min over G, C1, C2 of CE(s).
    - B: min over C1, C2 of CE(s) - d(t).
    - C, `generator_steps` times: over G, the pair *alignment* d(t) (task 1) and *classification* CE(s) (task 2).

    A and B are MCD's. MCD's C minimises d(t) alone, so that G serves its two tasks in turn, CE in A and d in C, and
    never weighs them against each other; here C holds both, with the classifiers untouched. With the plain sum as the
    method, C descends on d(t) + CE(s).

    Released variant: A; then B as the pair *classification* CE(s) (task 1) and *discrepancy* -d(t) (task 2), whose
    gradients over G decide two weights that multiply whole losses while only C1 and C2 are stepped; then C with d(t)
    alone. The weights never reach G, and task 2 is *minus* the discrepancy, so that a conflict there is an agreement
    here.
    """

    title = "MCD"
    paper = "Saito et al., CVPR 2018"
    alignment = "discrepancy d(t) of two classifiers, in step C"
    classification = "CE(s), summed over both classifiers"
    shared = "generator"
    variants: ClassVar = {
        "principled": "the generator's step C holds both tasks",
        "released": "the pair is CE(s) and -d(t) in step B, where only the classifiers are stepped, by whole losses",
    }
    defaults: ClassVar = {"tradeoff": 5.0, "generator_steps": 2}
    pairs: ClassVar[tuple[str, ...]] = ("B", "C")
    published = Recipe("adam", lr=2e-4, schedule="constant", weight_decay=5e-4)

    def build(self) -> None:
        self.generator = self.add_backbone()
        self.classifiers = [self.add_classifier(f"classifier {k}", self.generator) for k in (1, 2)]
        self.add_optimizer("generator", "generator")
        self.add_optimizer("classifiers", "classifier 1", "classifier 2")

    def classify(self, features: Tensor) -> list[Tensor]:
        """Logits of both classifiers."""
        return [classifier(features) for classifier in self.classifiers]

    def source_logits(self, images: Tensor) -> list[Tensor]:
        return self.classify(self.generator(images))

    def trained_on_source(self) -> list[torch.optim.Optimizer]:
        return [self.optimizers["generator"], self.optimizers["classifiers"]]

    def predicted(self, features: Tensor) -> Tensor:
        return ensemble(self.classify(features))

    def apart(self, logits: list[Tensor]) -> Tensor:
        """How far the classifiers lie apart; what another system of this shape replaces."""
        return discrepancy(logits)

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        yield from self.warm_up(batch)
        yield from self.oppose(batch)
        for _ in range(self.settings["generator_steps"]):
            yield self.align(batch, index)

    def oppose(self, batch: Batch) -> Iterator[Phase]:
        """Step B: the classifiers drift apart on the target and stay right on the source."""
        if self.setting.variant == "released":
            source, target = self.both(self.generator, batch)
        else:
            with torch.no_grad():  # only the classifiers move
                source, target = self.both(self.generator, batch)
        kept = classification(self.classify(source), batch.labels)
        apart = -self.settings["tradeoff"] * self.apart(self.classify(target))
        if self.setting.variant == "released":
            yield Phase(
                "B",
                {"classification": kept, "discrepancy": apart},
                (self.optimizers["classifiers"],),
                shared=parameters(self.generator),
                apply="loss",
            )
        else:
            yield Phase("B", {"adversarial": kept + apart}, (self.optimizers["classifiers"],))

    def align(self, batch: Batch, index: int) -> Phase:
        """Step C: the generator brings them together again."""
        together = self.settings["tradeoff"] * self.apart(self.classify(self.generator(batch.target)))
        if self.setting.variant == "released":
            return Phase("C", {"alignment": together}, (self.optimizers["generator"],))
        kept = classification(self.source_logits(batch.source), batch.labels)
        return Phase(
            "C",
            {"alignment": together, "classification": kept},
            (self.optimizers["generator"],),
            shared=parameters(self.generator),
        )
