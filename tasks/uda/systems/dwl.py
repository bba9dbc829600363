"""Dynamic weighted learning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlgrad.compare.problem import Phase
from tasks.uda.backbones.base import Discriminator
from tasks.uda.losses import classification, discrepancy, domain_confusion, ensemble, entropy, linear_mmd, separability
from tasks.uda.schedules import Recipe
from tasks.uda.systems.base import Batch, System, parameters

MEMORY = 16
"""Batches whose features the balance is computed on."""


class DWL(System):
    """DWL (Xiao and Zhang, Dynamic Weighted Learning for Unsupervised Domain Adaptation, CVPR 2021).

    Generator G, classifiers C, C1, C2, discriminator D; d the sum of the three pairs' discrepancies on the target.

    - source, `repeats` times: min over G, C of CE(s).
    - B: D learns to tell the domains. C, C1, C2: min of CE(s), summed, minus d(C1, C2).
    - G, `repeats` times: over G, the pair *alignment* T a, a the loss of D that G wants large (task 1), and
      *classification* (1 - T) d + CE(s) (task 2).
    - target: min over G, C of 2 (mu CE(t, pseudo-label) + (1 - mu) H(t)), mu a row's certainty, from 0 to 1.

    T = A / (A + 1 - J) says which of the two lags behind: A is the linear MMD of the features and J the smaller of both
    domains' `separability` (by pseudo-labels on the target), each scaled to [0, 1] by its least and largest value so
    far. It is computed anew after each `period` steps, on the features of the last batches.

    Released variant: D learns to give the domains the *same* score and G to give them different ones, the entropy H
    carries no gradient, and the generator's pair is T times the (negated) mismatch of D's scores (task 1) and (1 - T) d
    alone (task 2).
    """

    title = "DWL"
    paper = "Xiao and Zhang, CVPR 2021"
    alignment = "T times the reversed domain loss of D, in step G"
    classification = "(1 - T) times the discrepancies of three classifiers on the target, plus CE(s), in step G"
    shared = "generator"
    variants: ClassVar = {
        "principled": "signs of the adversarial game and gradient of the entropy as the paper writes them",
        "released": "D minimises and G maximises the mismatch of the domains' scores; the entropy is a constant; no CE "
        "in the pair",
    }
    # the paper repeats 8 times and weighs the domain loss .2
    defaults: ClassVar = {"repeats": 2, "domain": 0.2, "tradeoff": 5.0, "target": 2.0, "hidden": 256, "period": 50}
    pairs = ("G",)
    published = Recipe("adam", lr=2e-4, schedule="constant", weight_decay=5e-4)

    def build(self) -> None:
        self.generator = self.add_backbone()
        names = ("classifier", "classifier 1", "classifier 2")
        self.classifiers = [self.add_classifier(name, self.generator) for name in names]
        self.discriminator = self.add_network(
            "discriminator", Discriminator(self.generator.width, self.settings["hidden"])
        )
        self.add_optimizer("generator", "generator")
        self.add_optimizer("classifier", "classifier")
        self.add_optimizer("classifiers", "classifier 1", "classifier 2")
        self.add_optimizer("discriminator", "discriminator")
        self.released = self.setting.variant == "released"
        self.balance = 0.5
        """T."""
        self.ranges: dict[str, list[float]] = {}
        self.memory: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def classify(self, features: Tensor) -> list[Tensor]:
        """Logits of C, C1 and C2."""
        return [classifier(features) for classifier in self.classifiers]

    def source_logits(self, images: Tensor) -> list[Tensor]:
        return self.classify(self.generator(images))

    def trained_on_source(self) -> list[torch.optim.Optimizer]:
        return [self.optimizers[name] for name in ("generator", "classifier", "classifiers")]

    def predicted(self, features: Tensor) -> Tensor:
        return ensemble(self.classify(features))

    def domain_loss(self, source: Tensor, target: Tensor) -> Tensor:
        """What D minimises and G maximises."""
        if not self.released:
            return domain_confusion(self.discriminator(source), self.discriminator(target))
        scores = self.discriminator(target).sigmoid().detach()
        return F.binary_cross_entropy_with_logits(self.discriminator(source), scores)

    def target_loss(self, logits: Tensor) -> Tensor:
        """mu CE(pseudo-label) + (1 - mu) H, averaged over rows."""
        unsure = entropy(logits)
        classes = self.setting.classes
        mu = ((-unsure.detach()).exp() - 1 / classes) / (1 - 1 / classes)
        if self.released:
            unsure = unsure.detach()
        guessed = F.cross_entropy(logits, logits.detach().argmax(dim=1), reduction="none")
        return (mu * guessed + (1 - mu) * unsure).mean()

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        own = (self.optimizers["generator"], self.optimizers["classifier"])
        for _ in range(self.settings["repeats"]):
            loss = F.cross_entropy(self.classifiers[0](self.generator(batch.source)), batch.labels)
            yield Phase("source", {"classification": loss}, own)
        with torch.no_grad():
            source, target = self.both(self.generator, batch)
        yield Phase("D", {"domain": self.domain_loss(source, target)}, (self.optimizers["discriminator"],))
        kept = classification(self.classify(source), batch.labels)
        apart = discrepancy(self.classify(target)[1:])
        adversarial = kept - self.settings["tradeoff"] * apart
        yield Phase("B", {"adversarial": adversarial}, (self.optimizers["classifier"], self.optimizers["classifiers"]))
        for _ in range(self.settings["repeats"]):
            yield self.align(batch)
        target = self.generator(batch.target)
        loss = self.settings["target"] * self.target_loss(self.classifiers[0](target))
        yield Phase("target", {"pseudo-labels": loss}, own)
        self.remember(batch, source)
        if (index + 1) % self.settings["period"] == 0:
            self.weigh()

    def align(self, batch: Batch) -> Phase:
        """Step G."""
        source, target = self.both(self.generator, batch)
        first, second, third = self.classify(target)
        pairs = ((second, third), (first, second), (first, third))
        together = torch.stack([discrepancy(pair) for pair in pairs]).sum()
        adversary = -self.settings["domain"] * self.domain_loss(source, target)
        discriminability = (1 - self.balance) * self.settings["tradeoff"] * together
        if not self.released:
            discriminability = discriminability + classification(self.classify(source), batch.labels)
        return Phase(
            "G",
            {"alignment": self.balance * adversary, "classification": discriminability},
            (self.optimizers["generator"],),
            shared=parameters(self.generator),
        )

    @torch.no_grad()
    def remember(self, batch: Batch, source: Tensor) -> None:
        """Keep the features of this batch for the balance."""
        target = self.generator(batch.target)
        guessed = ensemble(self.classify(target)).argmax(dim=1)
        self.memory = [*self.memory[-MEMORY + 1 :], (source, batch.labels, target, guessed)]

    def weigh(self) -> None:
        """Compute T anew."""
        source, labels, target, guessed = (torch.cat(list(part)) for part in zip(*self.memory, strict=True))
        classes = self.setting.classes
        gap = self.scaled("A", linear_mmd(source, target).item())
        domains = ((source, labels), (target, guessed))
        # a target all of one class is as badly separated as can be
        separated = [separability(f, y, classes=classes) if len(y.unique()) > 1 else 0.0 for f, y in domains]
        apart = self.scaled("J", min(separated))
        lag = gap + 1 - apart
        self.balance = gap / lag if lag > 0 else 0.5

    def scaled(self, name: str, value: float) -> float:
        """`value` to [0, 1] by the least and largest seen under this name; 1/2 while there is one only."""
        low, high = self.ranges.get(name, [value, value])
        low, high = min(low, value), max(high, value)
        self.ranges[name] = [low, high]
        return (value - low) / (high - low) if high > low else 0.5

    def extra_state(self) -> dict[str, Any]:
        return {"balance": self.balance, "ranges": self.ranges, "memory": self.memory}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.balance = state["balance"]
        self.ranges = {name: list(pair) for name, pair in state["ranges"].items()}
        device = self.setting.device
        self.memory = [tuple(one.to(device) for one in row) for row in state["memory"]]
