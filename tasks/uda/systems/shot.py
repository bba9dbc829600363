"""Source hypothesis transfer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch.nn.functional as F

from mtlgrad.compare.problem import Phase
from tasks.networks import evaluating
from tasks.uda.losses import information
from tasks.uda.pseudo_labels import Clusters
from tasks.uda.schedules import Recipe
from tasks.uda.systems.base import Batch, System

SMOOTHING = 0.1


class SHOT(System):
    """SHOT (Liang et al., Do We Really Need to Access the Source Data?, ICML 2020, Eq. 1 to 7).

    The first half of a run trains on the source, with smoothed labels. Then the classifier stays as it is and the
    source is not looked at again: the generator maximises the target's information (*alignment*) and learns
    pseudo-labels from clusters of the target's features, `pseudo` times (*classification*).

    The clusters are found anew every `period` steps on the whole target. A row's pseudo-label is read off them when
    it is drawn; the authors store the labels of a pass. Their weight normalisation of the classifier is left out.
    """

    title = "SHOT"
    paper = "Liang et al., ICML 2020"
    alignment = "minus the mutual information of the target's predictions, in the second half of the run"
    classification = "CE(t) of pseudo-labels from clusters, in the second half of the run"
    shared = "generator"
    variants: ClassVar = {"principled": "no weight normalisation; clusters are asked as rows are drawn"}
    defaults: ClassVar = {"tradeoff": 1.0, "pseudo": 0.3, "period": 50}
    published = Recipe("sgd", lr=0.01, schedule="inverse", momentum=0.9, nesterov=True, weight_decay=1e-3, trunk=0.1)
    source_first = 0.5

    def build(self) -> None:
        self.generator = self.add_backbone()
        self.classifier = self.add_classifier("classifier", self.generator)
        self.add_optimizer("generator", "generator")
        self.add_optimizer("classifier", "classifier")
        self.clusters = Clusters(self.settings["period"])

    def trained_on_source(self) -> list[Any]:
        return list(self.optimizers.values())

    def warm_up(self, batch: Batch) -> Iterator[Phase]:
        logits = self.classifier(self.generator(batch.source))
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=SMOOTHING)
        yield Phase("source", {"classification": loss}, self.trained_on_source())

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        self.clusters.advance(self.whole_target)
        features = self.generator(batch.target)
        with evaluating(self.classifier):  # or its batch norm would go on learning
            logits = self.classifier(features)
        guessed = self.clusters.labels(features)
        assert guessed is not None
        yield self.adapt(
            self.settings["tradeoff"] * information(logits),
            self.settings["pseudo"] * F.cross_entropy(logits, guessed),
            self.generator,
            optimizers=("generator",),
        )

    def extra_state(self) -> dict[str, Any]:
        return self.clusters.state_dict()

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.clusters.load_state_dict(state, self.setting.device)
