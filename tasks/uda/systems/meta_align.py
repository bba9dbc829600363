"""MetaAlign: each of the two tasks is judged after an inner step on the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from mtlgrad.compare.problem import Phase
from tasks.networks import as_constants
from tasks.uda.losses import domain_confusion, reverse
from tasks.uda.schedules import Recipe, ramp
from tasks.uda.systems.base import Batch
from tasks.uda.systems.dann import DANN


class MetaAlign(DANN):
    """MetaAlign (Wei et al., Coordinating Domain Alignment and Classification, CVPR 2021), on DANN.

    One task is meta-train, L_tr at the generator's parameters theta; the other meta-test, L_te at theta - `inner`
    grad L_tr(theta), differentiated through the inner step. To first order their sum rewards a positive inner product
    of the two gradients. The roles alternate: alignment is meta-train in even steps and classification in odd ones.
    In the inner step, the discriminator and the classifier are constants.

    The paper also learns inner rates of groups of layers; here one rate, `inner`, is given for all.
    """

    title = "MetaAlign"
    paper = "Wei et al., CVPR 2021"
    alignment = "domain loss of D on reversed features; in odd steps after an inner step on CE(s)"
    classification = "CE(s); in even steps after an inner step on the alignment"
    shared = "generator"
    variants: ClassVar = {"principled": "one inner rate for all layers; its paper learns those of groups"}
    defaults: ClassVar = {**DANN.defaults, "inner": 0.1}
    published = Recipe("sgd", lr=1e-2, schedule="inverse", momentum=0.9, nesterov=True, weight_decay=1e-3, trunk=0.1)

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        coefficient = ramp(self.progress(index))

        def align(features: tuple[Tensor, Tensor], *, fixed: bool = False) -> Tensor:
            judged = (_called(self.discriminator, reverse(one, coefficient), fixed=fixed) for one in features)
            confusion: Tensor = self.settings["tradeoff"] * domain_confusion(*judged)
            return confusion

        def classify(features: tuple[Tensor, Tensor], *, fixed: bool = False) -> Tensor:
            return F.cross_entropy(_called(self.classifier, features[0], fixed=fixed), batch.labels)

        with sdpa_kernel(SDPBackend.MATH):  # the fused attention of transformers has no second derivative
            here = self.both(self.generator, batch)
            train = align if index % 2 == 0 else classify
            before = dict(self.generator.named_parameters())
            gradients = torch.autograd.grad(train(here, fixed=True), list(before.values()), create_graph=True)
            after = {
                name: parameter - self.settings["inner"] * gradient
                for (name, parameter), gradient in zip(before.items(), gradients, strict=True)
            }
            moved = tuple(functional_call(self.generator, after, (images,)) for images in (batch.source, batch.target))
            alignment = align(here if train is align else moved)
            classification = classify(here if train is classify else moved)
        yield self.adapt(alignment, classification, self.generator, optimizers=("model", "discriminator"))


def _called(network: nn.Module, features: Tensor, *, fixed: bool) -> Tensor:
    """The network's output; with `fixed`, its parameters are constants."""
    out: Tensor = as_constants(network, features) if fixed else network(features)
    return out
