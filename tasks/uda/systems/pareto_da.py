"""Pareto domain adaptation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlgrad.compare.problem import Phase
from tasks.networks import as_constants
from tasks.uda.backbones.base import Discriminator
from tasks.uda.guidance import weights_of
from tasks.uda.losses import domain_confusion, information, reverse
from tasks.uda.schedules import Recipe, ramp
from tasks.uda.systems.base import Batch, System, parameters


class ParetoDA(System):
    """ParetoDA (Lv et al., Pareto Domain Adaptation, NeurIPS 2021), on DANN.

    A third loss *mimics* the target's classification: minus the mutual information of the target's rows and
    predictions, which are refined by K discriminators of the domains, one a class: by Bayes' rule P(k | x, target) is
    in proportion to P(k | x) P(target | x, k). Classifier and discriminators are constants of it.

    The three losses' gradients on the generator are weighed before they are joined: the same loss on a batch of target
    images that are kept from training (a tenth of them) has a gradient, and a linear programme picks the weights whose
    direction follows it best (`tasks.uda.guidance`). The weights have mean 1 and reach the generator alone; classifier
    and discriminator learn from whole losses. The plain sum of the phase is the paper's update, and another method
    joins gradients that are weighed already. A backbone from scratch first sees the source alone (`scratch_first`): the
    published ones start from ImageNet, and any way of being sure has information, learned or not.

    What is published: of the paper we had its beginning, and the authors' code decides the rest. What looks like its
    faults is mended: it never follows the held-out gradient, for it asks whether minus an information, which is never
    positive, is more than 1e-3 (here the distance from the least there is, -log K, is asked for); it multiplies logits
    by the probabilities of the domain, by which a class that is ruled out becomes a likely one where the logits are
    negative; in the class discriminators' loss all source rows count for the class of the last one, and target rows
    count negative where their logits are; the generator gets the whole losses' gradients beside the weighted ones;
    where no weights can be found, the losses have three times their usual weights. The released variant has all of
    these.

    Where both variants depart: one pass through the generator serves the weights and the update, where the code makes
    two; the discriminators have no batch norm, for the domains pass apart, and `hidden` is 256, not 1024.
    """

    title = "ParetoDA"
    paper = "Lv et al., NeurIPS 2021"
    alignment = "domain loss of D on reversed features"
    classification = "CE(s)"
    shared = "generator; a third loss is *mimicking*: minus the information of the target's refined predictions"
    variants: ClassVar = {
        "principled": "weights follow the held-out gradient; predictions are refined by Bayes' rule",
        "released": "the held-out gradient is hardly asked; logits times probabilities; one row's class for all",
    }
    defaults: ClassVar = {"tradeoff": 1.0, "hidden": 256}
    published = Recipe("sgd", lr=1e-3, schedule="inverse", momentum=0.9, nesterov=True, weight_decay=1e-3, trunk=0.1)
    tasks = ("alignment", "classification", "mimicking")
    held_out = 0.1
    scratch_first = 0.3

    def build(self) -> None:
        self.generator = self.add_backbone()
        width, hidden = self.generator.width, self.settings["hidden"]
        self.classifier = self.add_classifier("classifier", self.generator)
        self.discriminator = self.add_network("discriminator", Discriminator(width, hidden))
        self.of_classes = self.add_network(
            "class discriminators", nn.ModuleList(Discriminator(width, hidden) for _ in range(self.setting.classes))
        )
        self.add_optimizer("model", "generator", "classifier")
        self.add_optimizer("discriminator", "discriminator")
        self.add_optimizer("class discriminators", "class discriminators")
        self.released = self.setting.variant == "released"

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        assert batch.held_out is not None
        source, target = self.both(self.generator, batch)
        held_out = self.generator(batch.held_out)
        coefficient = ramp(self.progress(index))
        weights = self.weigh(source, target, held_out, batch.labels, coefficient)
        losses = self.losses(source, target, batch.labels, coefficient, weights)
        yield Phase(
            "adapt",
            dict(zip(self.tasks, losses, strict=True)),
            [self.optimizers["model"], self.optimizers["discriminator"]],
            shared=parameters(self.generator),
        )
        with torch.no_grad():
            guessed = self.refined(target)
        told = self.class_confusion(self.scores(source.detach()), self.scores(target.detach()), batch.labels, guessed)
        yield Phase("classes", {"domain of classes": told}, (self.optimizers["class discriminators"],))

    def losses(
        self, source: Tensor, target: Tensor, labels: Tensor, coefficient: float, weights: list[float]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The losses of `tasks`; their gradients on the features, and on nothing behind them, count `weights` times."""
        aligned, classified, mimicked = weights
        confusion = domain_confusion(
            *(self.discriminator(reverse(one, coefficient * aligned)) for one in (source, target))
        )
        return (
            self.settings["tradeoff"] * confusion,
            F.cross_entropy(self.classifier(reverse(source, -classified)), labels),
            information(self.refined(reverse(target, -mimicked))),
        )

    def weigh(
        self, source: Tensor, target: Tensor, held_out: Tensor, labels: Tensor, coefficient: float
    ) -> list[float]:
        """The weights of the losses, of mean 1."""
        plain = self.losses(source, target, labels, coefficient, [1.0] * 3)
        guide = information(self.refined(held_out))
        shared = parameters(self.generator)
        rows = [
            torch.cat(
                [g.flatten() for g in torch.autograd.grad(loss, shared, retain_graph=True, materialize_grads=True)]
            )
            for loss in (*plain, guide)
        ]
        products = torch.stack(rows) @ torch.stack(rows).T
        gramian, along = products[:-1, :-1].double().cpu().numpy(), products[:-1, -1].double().cpu().numpy()
        least = 0.0 if self.released else -math.log(self.setting.classes)
        found = weights_of(gramian, along, guide.item() - least)
        if not self.released:
            return [1.0] * 3 if found is None else found.tolist()
        aligned, classified, mimicked = [3.0] * 3 if found is None else found.tolist()
        return [1 + aligned, 1 + classified, mimicked]

    def scores(self, features: Tensor) -> Tensor:
        """Logits [N, K] by which each class's discriminator calls a row the source's."""
        return torch.cat([one(features) for one in self.of_classes], dim=1)

    def refined(self, features: Tensor) -> Tensor:
        """Logits [N, K] of P(k | x, target); gradients flow into the features through P(k | x) alone."""
        logits = as_constants(self.classifier, features)
        with torch.no_grad():
            scores = self.scores(features)
        if self.released:
            return logits * torch.sigmoid(-scores)
        return logits.log_softmax(dim=1) + F.logsigmoid(-scores)

    def class_confusion(self, source: Tensor, target: Tensor, labels: Tensor, guessed: Tensor) -> Tensor:
        """What the class discriminators minimise: each tells the domains apart by the rows of its class.

        1/(2K) (mean_i BCE(s_i,y_i, 1) + mean_j sum_k p_jk BCE(t_jk, 0)), s and t their scores [N, K] and [M, K], y the
        source's labels, p the target's refined probabilities, whose logits `guessed` holds.
        """
        classes = source.shape[1]
        if self.released:
            labels, shares = labels[-1].expand(len(labels)), guessed
        else:
            shares = guessed.softmax(dim=1)
        of_source = F.softplus(-source).gather(1, labels[:, None]).mean()
        of_target = (shares * F.softplus(target)).sum(dim=1).mean()
        found: Tensor = (of_source + of_target) / (2 * classes)
        return found
