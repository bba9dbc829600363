"""What a system of unsupervised domain adaptation is: networks, optimizers, and the phases of a training step.

A system is told the shapes, the batches and how far the run is; it knows neither the domains nor the method that weighs
its two tasks. It never sees a target label: a `Batch` has none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlgrad.compare.problem import Phase
from tasks.networks import evaluating, seeded
from tasks.sampling import stream_seed
from tasks.uda.backbones import BACKBONES, Backbone, default_backbone
from tasks.uda.backbones.base import Classifier
from tasks.uda.data import normalize, together
from tasks.uda.data.photos import Photos
from tasks.uda.schedules import SHORT, Recipe


@dataclass(frozen=True)
class Batch:
    """A labelled source batch and an unlabelled target batch, images [N, channels, size, size]."""

    source: Tensor
    labels: Tensor
    target: Tensor
    held_out: Tensor | None = None
    """Of the target's images that the system keeps from training; None: it keeps none."""


@dataclass(frozen=True)
class Setting:
    """What a system is built from."""

    channels: int
    size: int
    classes: int
    steps: int
    """Of the whole run: schedules are functions of index / steps, unless the recipe has a horizon of its own."""
    variant: str = "principled"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The system's own, over its `defaults`."""
    backbone: str | None = None
    """None: by the size of the images."""
    target_images: Tensor | Photos | None = None
    """All training images of the target, uint8 [N, channels, size, size], for systems that look at it whole."""
    recipe: Recipe = SHORT
    warmup: int | None = None
    """First steps on the source alone; None: as the system's `source_first` and `scratch_first` say."""
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


class System(ABC):
    """A system in training.

    A subclass builds its networks and optimizers in `build`, with `add_network` and `add_optimizer`, and yields
    phases in `step`. One with a network that is not "generator" followed by "classifier" says how it predicts.
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    alignment: ClassVar[str]
    """Task 1, in words."""
    classification: ClassVar[str]
    """Task 2, in words."""
    shared: ClassVar[str]
    """What both tasks pull on."""
    variants: ClassVar[Mapping[str, str]] = {"principled": "as its paper describes it"}
    """Name to what it is."""
    defaults: ClassVar[Mapping[str, int | float]] = {}
    """The system's own settings. An int counts something (at least 1), a float weighs something (at least 0)."""
    published: ClassVar[Recipe]
    """The optimizer of its paper on the backbones of its paper."""
    source_first: ClassVar[float] = 0.0
    """The share of a run that trains on the source alone, before adaptation begins: a stage of the system itself."""
    scratch_first: ClassVar[float] = 0.0
    """The like for a backbone from scratch, in place of the pretraining of published ones."""
    pairs: ClassVar[tuple[str, ...]] = ("adapt",)
    """The phases in which losses meet on shared parameters, those of all variants."""
    tasks: ClassVar[tuple[str, ...]] = ("alignment", "classification")
    """The losses that meet there."""
    held_out: ClassVar[float] = 0.0
    """The share of the target's training images that is kept from training, for the system to look at apart."""
    transformer: ClassVar[bool] = False
    """Whether the backbone has to be a transformer."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.settings: dict[str, Any] = {**self.defaults, **setting.settings}
        self.networks = nn.ModuleDict()
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        with seeded(stream_seed(setting.seed, "uda networks")):
            self.build()
        scratch = not any(isinstance(one, Backbone) and one.pretrained for one in self.networks.values())
        share = max(self.source_first, self.scratch_first) if scratch else self.source_first
        self.warmup = round(share * setting.steps) if setting.warmup is None else setting.warmup

    # ---- building

    @abstractmethod
    def build(self) -> None:
        """Add networks, then optimizers. What is drawn here is a function of the run's seed."""

    def add_network(self, name: str, network: nn.Module) -> Any:
        """Put a network on the device under a name; comes back for the caller's attribute."""
        self.networks[name] = network.to(self.setting.device)
        return self.networks[name]

    def add_backbone(self, name: str = "generator") -> Any:
        """The backbone that the setting asks for."""
        chosen = self.setting.backbone or default_backbone(self.setting.size, transformer=self.transformer)
        return self.add_network(name, BACKBONES[chosen](self.setting.channels, self.setting.size))

    def add_classifier(self, name: str, backbone: Backbone) -> Any:
        """A classifier on the backbone's features."""
        return self.add_network(name, Classifier(backbone.width, backbone.hidden, self.setting.classes))

    def add_optimizer(self, name: str, *networks: str) -> torch.optim.Optimizer:
        """One optimizer for these networks, as the recipe says."""
        recipe = self.setting.recipe
        groups: list[dict[str, Any]] = []
        for one in networks:
            network = self.networks[one]
            trunk = isinstance(network, Backbone) and network.pretrained
            factor = recipe.trunk if trunk else 1.0
            groups.append(
                {"params": list(network.parameters()), "lr": recipe.lr * factor, "full_lr": recipe.lr * factor}
            )
        optimizer: torch.optim.Optimizer
        if recipe.optimizer == "adam":
            optimizer = torch.optim.Adam(groups, weight_decay=recipe.weight_decay)
        else:
            optimizer = torch.optim.SGD(
                groups, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=recipe.weight_decay
            )
        self.optimizers[name] = optimizer
        return optimizer

    # ---- training

    def iterate(self, batch: Batch, index: int) -> Iterator[Phase]:
        """Training step `index`, at the rate of its place in the run; the first `warmup` use the source alone."""
        factor = self.setting.recipe.factor(index, self.setting.steps)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * factor
        return self.warm_up(batch) if index < self.warmup else self.step(batch, index)

    @abstractmethod
    def step(self, batch: Batch, index: int) -> Iterator[Phase]:
        """The phases of training step `index`."""

    def warm_up(self, batch: Batch) -> Iterator[Phase]:
        """A step that trains on the source alone."""
        logits = self.source_logits(batch.source)
        loss = torch.stack([F.cross_entropy(one, batch.labels) for one in logits]).sum()
        yield Phase("source", {"classification": loss}, self.trained_on_source())

    def source_logits(self, images: Tensor) -> list[Tensor]:
        """Of every classifier that is trained on the source."""
        return [self.networks["classifier"](self.networks["generator"](images))]

    def trained_on_source(self) -> list[torch.optim.Optimizer]:
        """The optimizers of what `source_logits` passes through."""
        return [self.optimizers["model"]]

    def progress(self, index: int) -> float:
        """From 0 to just below 1, or beyond where the recipe has a horizon before the run's end."""
        return self.setting.recipe.progress(index, self.setting.steps)

    def both(self, network: nn.Module, batch: Batch) -> tuple[Any, Any]:
        """`network` of the source and of the target images, which pass apart: batch norm mixes no domains."""
        return network(batch.source), network(batch.target)

    def adapt(
        self,
        alignment: Tensor,
        classification: Tensor,
        *shared: nn.Module,
        optimizers: Sequence[str] = ("model",),
        name: str = "adapt",
    ) -> Phase:
        """The phase of the pair."""
        return Phase(
            name,
            {"alignment": alignment, "classification": classification},
            [self.optimizers[one] for one in optimizers],
            shared=parameters(*shared),
        )

    @torch.no_grad()
    def whole_target(self) -> tuple[Tensor, Tensor]:
        """Features [N, width] and probabilities [N, K] of all training images of the target, in evaluation mode."""
        whole = self.setting.target_images
        if whole is None:
            raise ValueError(f"{self.title} looks at the whole target; Setting.target_images=None does not do")
        features, probabilities = [], []
        with evaluating(self.networks):
            for images in whole.split(together(whole)):
                pixels = normalize(images.to(self.setting.device))
                features.append(self.features(pixels))
                probabilities.append(self.probabilities(pixels))
        return torch.cat(features), torch.cat(probabilities)

    # ---- judging

    def features(self, images: Tensor, *, source: bool = False) -> Tensor:
        """[N, width], what is aligned; `source` tells whose images they are where each domain has its own encoder."""
        features: Tensor = self.networks["generator"](images)
        return features

    def probabilities(self, images: Tensor, *, source: bool = False) -> Tensor:
        """The prediction that is judged, [N, K], of target images or of `source` ones."""
        return self.predicted(self.features(images, source=source))

    def predicted(self, features: Tensor) -> Tensor:
        """[N, width] to the probabilities that are judged, [N, K]."""
        logits: Tensor = self.networks["classifier"](features)
        return logits.softmax(dim=1)

    # ---- state

    def extra_state(self) -> dict[str, Any]:
        """What a resumed run needs beside networks and optimizers; plain values and tensors."""
        return {}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Undo `extra_state`."""
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state beside its networks, got {sorted(state)}")

    def state_dict(self) -> dict[str, Any]:
        return {
            "networks": self.networks.state_dict(),
            "optimizers": {name: one.state_dict() for name, one in self.optimizers.items()},
            "extra": self.extra_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.networks.load_state_dict(state["networks"])
        for name, one in self.optimizers.items():
            one.load_state_dict(state["optimizers"][name])
        self.load_extra_state(state["extra"])


def parameters(*networks: nn.Module) -> tuple[nn.Parameter, ...]:
    """Of all these networks, in order: what a phase shares."""
    return tuple(parameter for network in networks for parameter in network.parameters() if parameter.requires_grad)
