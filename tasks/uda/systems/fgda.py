"""Feature gradient distribution alignment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlgrad.compare.problem import Phase
from tasks.networks import as_constants
from tasks.sampling import stream_seed
from tasks.uda.backbones.base import Discriminator
from tasks.uda.losses import domain_confusion, reverse
from tasks.uda.pseudo_labels import Clusters
from tasks.uda.schedules import Recipe, ramp
from tasks.uda.systems.base import Batch, System


class FGDA(System):
    """FGDA (Gao et al., Gradient Distribution Alignment Certificates Better Adversarial Domain Adaptation, ICCV 2021).

    A discriminator learns to tell the domains by their *feature gradients*: those of a batch's mean cross-entropy over
    its features, with the label on the source and a pseudo-label on the target. The generator makes them alike, by
    gradient reversal through second derivatives. The classifier is a constant of that game, as in the authors' code; it
    learns from the source alone, with a penalty on the Jacobian of logits over features (`jacobian_penalty`), one
    random direction a row.

    Pseudo-labels are the classifier's own guesses for the first `period` steps, then those of clusters found anew every
    `period` steps on the whole target.

    Where this departs from the authors' code: the period is 50 steps and not 500, for short runs; a row's pseudo-label
    is read off the clusters when it is drawn, where they store the labels of a pass; clusters are SHOT's, which leave
    every class its centre, where they drop classes that no row was predicted as; the discriminator has no dropout and
    `hidden` is 256, not 1024; the domains pass through the other networks apart. As theirs, it has batch norm over both
    domains together: feature gradients are small numbers, and within one domain it would hide the difference of means.
    """

    title = "FGDA"
    paper = "Gao et al., ICCV 2021"
    alignment = "domain loss of D on reversed feature gradients"
    classification = "CE(s), plus the size of the Jacobian of logits over features on the source"
    shared = "generator"
    variants: ClassVar = {"principled": "shorter period, narrower D, clusters of SHOT"}
    defaults: ClassVar = {"tradeoff": 1.0, "jacobian": 0.005, "hidden": 256, "period": 50}
    # the rate of the authors' Office-Home runs; new layers have ten times that of the trunk
    published = Recipe("sgd", lr=0.01, schedule="inverse", momentum=0.9, nesterov=True, weight_decay=1e-3, trunk=0.1)

    def build(self) -> None:
        self.generator = self.add_backbone()
        self.classifier = self.add_classifier("classifier", self.generator)
        self.discriminator = self.add_network(
            "gradient discriminator", Discriminator(self.generator.width, self.settings["hidden"], batch_norm=True)
        )
        self.add_optimizer("model", "generator", "classifier")
        self.add_optimizer("gradient discriminator", "gradient discriminator")
        self.clusters = Clusters(self.settings["period"], wait=True)

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        self.clusters.advance(self.whole_target)
        source, target = self.both(self.generator, batch)
        logits = self.classifier(source)
        draws = torch.Generator().manual_seed(stream_seed(self.setting.seed, "fgda", index))
        directions = F.normalize(torch.randn(logits.shape, generator=draws), dim=1).to(logits)
        yield self.adapt(
            self.settings["tradeoff"] * self.align(source, batch.labels, target, ramp(self.progress(index))),
            F.cross_entropy(logits, batch.labels)
            + self.settings["jacobian"] * jacobian_penalty(source, logits, directions),
            self.generator,
            optimizers=("model", "gradient discriminator"),
        )

    def align(self, source: Tensor, labels: Tensor, target: Tensor, coefficient: float) -> Tensor:
        """The domain loss of feature gradients, which the generator ascends on `coefficient` times."""
        source_logits, target_logits = (as_constants(self.classifier, one) for one in (source, target))
        guessed = self.clusters.labels(target)
        if guessed is None:
            guessed = target_logits.detach().argmax(dim=1)
        gradients = torch.cat(
            [feature_gradients(source, source_logits, labels), feature_gradients(target, target_logits, guessed)]
        )
        judged = self.discriminator(reverse(gradients, coefficient))
        return domain_confusion(judged[: len(source)], judged[len(source) :])

    def extra_state(self) -> dict[str, Any]:
        return self.clusters.state_dict()

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.clusters.load_state_dict(state, self.setting.device)


def feature_gradients(features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the rows' mean cross-entropy over the features, [N, D]; differentiable."""
    return torch.autograd.grad(F.cross_entropy(logits, labels), features, create_graph=True)[0]


def jacobian_penalty(features: Tensor, logits: Tensor, directions: Tensor) -> Tensor:
    """An estimate of half the mean squared Frobenius norm of the rows' Jacobians of logits over features; [].

    K / (2 N) sum_i |J_i' v_i|^2. With v_i uniform on the unit sphere its expectation is sum_i |J_i|_F^2 / (2 N)
    (Hoffman et al., Robust Learning with Jacobian Regularization, 2019, arXiv:1908.02729). With batch norm between
    features and logits, J_i is the derivative of all rows' logits, weighted by their own directions, over row i.

    Parameters
    ----------
    features, logits:
        [N, D], and [N, K] that were computed from it.
    directions:
        v, [N, K], rows of length 1.
    """
    products = torch.autograd.grad(logits, features, directions, create_graph=True)[0]
    return logits.shape[1] * products.square().sum() / (2 * len(features))
