"""Cross-domain gradient discrepancy minimization."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlgrad.compare.problem import Phase
from tasks.uda.losses import classification
from tasks.uda.pseudo_labels import Clusters
from tasks.uda.schedules import Recipe
from tasks.uda.systems.base import Batch, parameters
from tasks.uda.systems.mcd import MCD


class CGDM(MCD):
    """CGDM (Du et al., Cross-Domain Gradient Discrepancy Minimization, CVPR 2021, Eq. 5 to 9), on MCD.

    Step C aligns two things: the classifiers' predictions, as in MCD, and, `gradient` times, the gradients of the
    classification losses of source and target over the classifiers' parameters: 1 - their cosine, averaged over the two
    classifiers, differentiated into the generator. The target's labels are pseudo-labels from clusters of its features,
    found anew every `period` steps.
    """

    title = "CGDM"
    paper = "Du et al., CVPR 2021"
    alignment = "discrepancy d(t) of two classifiers and of the domains' gradients, in step C"
    classification = "CE(s), summed over both classifiers"
    shared = "generator"
    variants: ClassVar = {"principled": "the generator's step C holds both tasks"}
    defaults: ClassVar = {"tradeoff": 5.0, "generator_steps": 2, "gradient": 0.1, "period": 50}
    pairs = ("C",)
    published = Recipe("adam", lr=2e-4, schedule="constant", weight_decay=5e-4)

    def build(self) -> None:
        super().build()
        self.clusters = Clusters(self.settings["period"])

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        self.clusters.advance(self.whole_target)
        yield from super().step(batch, index)

    def align(self, batch: Batch, index: int) -> Phase:
        source, target = self.both(self.generator, batch)
        guessed = self.clusters.labels(target)
        assert guessed is not None
        logits, target_logits = self.classify(source), self.classify(target)
        gaps = []
        for classifier, own, other in zip(self.classifiers, logits, target_logits, strict=True):
            over = list(parameters(classifier))
            losses = (F.cross_entropy(own, batch.labels), F.cross_entropy(other, guessed))
            gaps.append(gradient_gap(*losses, over))
        together = self.settings["tradeoff"] * self.apart(target_logits)
        return self.adapt(
            together + self.settings["gradient"] * torch.stack(gaps).mean(),
            classification(logits, batch.labels),
            self.generator,
            optimizers=("generator",),
            name="C",
        )

    def extra_state(self) -> dict[str, Any]:
        return self.clusters.state_dict()

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.clusters.load_state_dict(state, self.setting.device)


def gradient_gap(first: Tensor, second: Tensor, over: list[torch.nn.Parameter]) -> Tensor:
    """1 - the cosine of two losses' gradients over these parameters; differentiable, in [0, 2]."""
    flat: list[Tensor] = []
    for loss in (first, second):
        gradients = torch.autograd.grad(loss, over, create_graph=True)
        flat.append(torch.cat([one.flatten() for one in gradients]))
    return 1 - F.cosine_similarity(flat[0], flat[1], dim=0)
