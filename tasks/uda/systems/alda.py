"""Adversarial-learned loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlgrad.compare.problem import Phase
from tasks.uda.backbones.base import Classifier
from tasks.uda.losses import reverse
from tasks.uda.schedules import Recipe, ramp
from tasks.uda.systems.base import Batch, System


class ALDA(System):
    """ALDA (Chen et al., Adversarial-Learned Loss for Domain Adaptation, AAAI 2020, Eq. 4 to 12).

    The discriminator gives a row K scores; the score of its (pseudo-)label y says how far that label is to be
    believed, and makes of it the corrected label c: c_y = xi_y and (1 - xi_y) / (K - 1) for every other class. D
    learns corrected labels that are the true ones on the source and the opposite of the pseudo-labels on the target
    (nothing on y, 1 / (K - 1) on the others), and the generator the reverse; besides, D learns to classify the
    source, for itself alone.

    On the target the classifier learns the corrected labels, as constants, by the unhinged loss sum_k c_k (1 - p_k), on
    rows of which it is surer than `threshold`. Adversary and corrected labels grow with the run.
    """

    title = "ALDA"
    paper = "Chen et al., AAAI 2020"
    alignment = "loss of D's corrected labels on reversed features"
    classification = "CE(s), plus the unhinged loss of the corrected labels on the target"
    shared = "generator"
    defaults: ClassVar = {"tradeoff": 1.0, "threshold": 0.6, "hidden": 256}
    published = Recipe("sgd", lr=1e-3, schedule="inverse", momentum=0.9, nesterov=True, weight_decay=5e-4)

    def build(self) -> None:
        self.generator = self.add_backbone()
        self.classifier = self.add_classifier("classifier", self.generator)
        hidden = (self.settings["hidden"],)
        self.discriminator = self.add_network(
            "discriminator", Classifier(self.generator.width, hidden, self.setting.classes)
        )
        self.add_optimizer("model", "generator", "classifier")
        self.add_optimizer("discriminator", "discriminator")

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        source, target = self.both(self.generator, batch)
        logits, target_logits = self.classifier(source), self.classifier(target)
        coefficient = ramp(self.progress(index))
        guessed = target_logits.detach().argmax(dim=1)
        sure = target_logits.detach().softmax(dim=1).amax(dim=1) > self.settings["threshold"]
        on_source = corrected_labels(self.discriminator(reverse(source, coefficient)), logits.detach().argmax(dim=1))
        on_target = corrected_labels(self.discriminator(reverse(target, coefficient)), guessed)
        classes = self.setting.classes
        true = F.one_hot(batch.labels, classes).to(on_source.dtype)
        opposite = (1 - F.one_hot(guessed, classes)) / (classes - 1)
        adversary = label_loss(on_source, true).mean() + masked_mean(label_loss(on_target, opposite), sure)
        own = F.cross_entropy(self.discriminator(source.detach()), batch.labels)
        unhinged = (on_target.detach() * (1 - target_logits.softmax(dim=1))).sum(dim=1)
        yield self.adapt(
            self.settings["tradeoff"] * adversary + own,
            F.cross_entropy(logits, batch.labels) + coefficient * masked_mean(unhinged, sure),
            self.generator,
            optimizers=("model", "discriminator"),
        )


def corrected_labels(scores: Tensor, labels: Tensor) -> Tensor:
    """c [N, K]: the sigmoid of the label's score on the label, the rest spread evenly over the other classes.

    >>> corrected_labels(torch.zeros(1, 3), torch.tensor([1]))
    tensor([[0.2500, 0.5000, 0.2500]])
    """
    believed = scores.gather(1, labels[:, None]).sigmoid()
    classes = scores.shape[1]
    return torch.where(F.one_hot(labels, classes).bool(), believed, (1 - believed) / (classes - 1))


def label_loss(corrected: Tensor, wanted: Tensor) -> Tensor:
    """Binary cross-entropy of the corrected labels, summed over classes: [N, K] and [N, K] to [N]."""
    inside = corrected.clamp(1e-6, 1 - 1e-6)
    return -(wanted * inside.log() + (1 - wanted) * (1 - inside).log()).sum(dim=1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over the rows that the mask keeps; 0 if it keeps none."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
