"""Safe self-refinement of a transformer."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtlgrad.compare.problem import Phase
from tasks.sampling import stream_seed
from tasks.uda.backbones.base import Discriminator
from tasks.uda.backbones.vit import Transformer
from tasks.uda.losses import domain_confusion, reverse
from tasks.uda.schedules import Recipe, ramp
from tasks.uda.systems.base import Batch, System, parameters

LEVELS = 4
"""A period is looked at in 2, 4, ..., 2^LEVELS windows."""
SURE = 0.4
"""Rows whose teacher is less sure than this teach nothing."""


class SSRT(System):
    """SSRT (Sun et al., Safe Self-Refinement for Transformer-based Domain Adaptation, CVPR 2022).

    Alignment is `domain` times the domain loss of D on reversed features, plus r `refinement` times the divergence of
    two predictions of the target: plain, and with the tokens that enter a block (the first, or one a third or two
    thirds up) moved by `perturbation` towards those of another image. Which of the two teaches is drawn each step;
    the teacher is a constant.

    A backbone from scratch first sees the source alone (`scratch_first`): the published ones start from ImageNet, and a
    network that predicts few classes yet is taken for one that has lost them.

    Safe training: r grows as a quarter sine over `period` steps. At the end of each period the number of classes
    predicted in a batch is looked at in ever finer windows; where it falls by more than one from a window to the
    next, the networks go back to the last safe snapshot and r starts again, over twice as many steps if that happened
    lately too.

    Released variant: the snapshot is the living networks, so that going back changes nothing; task 1 is CE(s) and
    task 2 the rest, their gradients are taken on the backbone alone, and the weights multiply whole losses.
    """

    title = "SSRT"
    paper = "Sun et al., CVPR 2022"
    alignment = "domain loss of D on reversed features, plus self-refinement on the target"
    classification = "CE(s)"
    shared = "generator and classifier: self-refinement passes through both"
    variants: ClassVar = {
        "principled": "snapshots are copies",
        "released": "snapshots alias the living networks; CE(s) is task 1; whole losses are weighted",
    }
    defaults: ClassVar = {
        "domain": 2.0,
        "reversal": 0.1,
        "refinement": 0.2,
        "perturbation": 0.3,
        "period": 100,
        "hidden": 256,
    }
    published = Recipe("sgd", lr=1e-2, schedule="inverse", momentum=0.9, nesterov=True, weight_decay=1e-3, trunk=0.1)
    transformer = True
    scratch_first = 0.3

    def build(self) -> None:
        self.generator = self.add_backbone()
        if not isinstance(self.generator, Transformer):
            raise ValueError(
                f"backbone={self.setting.backbone!r} has no blocks to perturb; ssrt needs 'vit_small' or 'vit_b16'"
            )
        self.classifier = self.add_classifier("classifier", self.generator)
        self.discriminator = self.add_network(
            "discriminator", Discriminator(self.generator.width, self.settings["hidden"])
        )
        self.add_optimizer("model", "generator", "classifier")
        self.add_optimizer("discriminator", "discriminator")
        self.released = self.setting.variant == "released"
        self.diversity: list[int] = []
        self.last_window = math.nan
        self.snapshot = self.take_snapshot()
        self.restarted: int | None = None
        """The step at which r last began to grow; None before the first."""
        self.ramp_steps = int(self.settings["period"])
        self.restored: list[int] = []
        """The steps at which the networks went back."""

    def take_snapshot(self) -> dict[str, Any]:
        """The networks now; in the released variant, the networks whenever one looks."""
        state: dict[str, Any] = self.networks.state_dict()
        return state if self.released else copy.deepcopy(state)

    def strength(self, index: int) -> float:
        """r, of self-refinement at this step."""
        if self.restarted is None:
            self.restarted, self.snapshot = index, self.take_snapshot()
        return math.sin(math.pi / 2 * min(1.0, (index - self.restarted) / self.ramp_steps))

    def refine(self, images: Tensor, plain: Tensor, strength: float, draws: torch.Generator) -> Tensor:
        """The divergence between the plain logits of the target and those of its perturbed view."""
        depth = len(self.generator.blocks())
        block = (0, depth // 3, 2 * depth // 3)[int(torch.randint(3, (), generator=draws))]
        amount = strength * self.settings["perturbation"]

        def move(tokens: Tensor) -> Tensor:
            moved: Tensor = tokens + amount * (tokens.flip(0) - tokens).detach()
            return moved

        perturbed = self.classifier(self.generator(images, (block, move)))
        views = (plain, perturbed) if torch.rand((), generator=draws) < 0.5 else (perturbed, plain)
        return self_refinement(*views)

    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        draws = torch.Generator().manual_seed(stream_seed(self.setting.seed, "ssrt", index))
        strength = self.strength(index)
        source, target = self.both(self.generator, batch)
        logits, target_logits = self.classifier(source), self.classifier(target)
        coefficient = ramp(self.progress(index), high=self.settings["reversal"])
        confusion = domain_confusion(
            self.discriminator(reverse(source, coefficient)), self.discriminator(reverse(target, coefficient))
        )
        refinement = self.refine(batch.target, target_logits, strength, draws)
        adapt = self.settings["domain"] * confusion + strength * self.settings["refinement"] * refinement
        kept = F.cross_entropy(logits, batch.labels)
        ordered = {"alignment": adapt, "classification": kept}
        if self.released:
            ordered = {"classification": kept, "alignment": adapt}
        yield Phase(
            "adapt",
            ordered,
            (self.optimizers["model"], self.optimizers["discriminator"]),
            shared=parameters(self.generator) if self.released else parameters(self.generator, self.classifier),
            apply="loss" if self.released else "shared",
        )
        self.diversity.append(len(target_logits.argmax(dim=1).unique()))
        if len(self.diversity) == self.settings["period"]:
            self.close_period(index + 1)

    def close_period(self, now: int) -> None:
        """Go back to the last snapshot if the period was unsafe, take a new one if it was safe."""
        if falls(self.diversity, self.last_window):
            if not self.released:
                self.networks.load_state_dict(self.snapshot)
            lately = bool(self.restored) and now - self.restored[-1] <= self.ramp_steps
            self.ramp_steps = 2 * self.ramp_steps if lately else int(self.settings["period"])
            self.restarted = now
            self.restored.append(now)
        else:
            self.snapshot = self.take_snapshot()
            self.last_window = windows(self.diversity, LEVELS)[-1]
        self.diversity = []

    def extra_state(self) -> dict[str, Any]:
        names = ("diversity", "last_window", "restarted", "ramp_steps", "restored")
        return {name: getattr(self, name) for name in names} | {
            "snapshot": {} if self.released else dict(self.snapshot)
        }

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, copy.deepcopy(value))
        if self.released:
            self.snapshot = self.take_snapshot()


def self_refinement(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(teacher || student), averaged over the rows of which the teacher is sure; logits [N, K] to [].

    0 where it is sure of none. The teacher is a constant (Sun et al. 2022, Eq. 6).
    """
    taught = teacher.detach().log_softmax(dim=1)
    sure = taught.exp().amax(dim=1) > SURE
    divergence = F.kl_div(student.log_softmax(dim=1), taught, reduction="none", log_target=True).sum(dim=1)
    return (divergence * sure).sum() / sure.sum().clamp(min=1)


def windows(diversity: Sequence[int], level: int) -> list[float]:
    """The means of 2^level windows of a period, or of its single steps where it is shorter than that."""
    return [float(np.mean(part)) for part in np.array_split(diversity, min(2**level, len(diversity)))]


def falls(diversity: Sequence[int], before: float = math.nan) -> bool:
    """Whether the mean number of predicted classes falls by more than 1 from a window to the next, at any level.

    At level l = 1, ..., 4 the period is cut into 2^l windows; the last window of the period before stands in front of
    them (NaN: there was none).

    >>> falls([10] * 50 + [8] * 50), falls([10, 9] * 50), falls([8] * 100, before=10.0)
    (True, False, True)
    """
    for level in range(1, LEVELS + 1):
        means = windows(diversity, level)
        if any(later < earlier - 1 for earlier, later in zip([before, *means], means, strict=False)):
            return True
    return False
