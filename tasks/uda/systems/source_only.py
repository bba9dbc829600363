"""No adaptation: cross-entropy on the source."""

from __future__ import annotations

from collections.abc import Iterator

from mtlgrad.compare.problem import Phase
from tasks.uda.schedules import Recipe
from tasks.uda.systems.base import Batch, System


class SourceOnly(System):
    """Trained on the source alone; the target is never looked at.

    What every system is measured against.
    """

    title = "source only"
    paper = "none"
    alignment = "none"
    classification = "CE(s), the one loss"
    shared = "nothing: there is one task"
    pairs = ()
    published = Recipe("sgd", lr=0.01, schedule="inverse", momentum=0.9, nesterov=True, weight_decay=1e-3, trunk=0.1)

    def build(self) -> None:
        generator = self.add_backbone()
        self.add_classifier("classifier", generator)
        self.add_optimizer("model", "generator", "classifier")

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        yield from self.warm_up(batch)
