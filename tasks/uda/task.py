"""Unsupervised domain adaptation between two domains of images, as a task for the training loop."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mtlgrad.compare.checks import integer, number, one_of
from mtlgrad.compare.checks import seed as check_seed
from mtlgrad.compare.problem import Outline, Phase, Problem
from tasks.networks import evaluating
from tasks.pictures import png
from tasks.sampling import stream_seed
from tasks.uda.backbones import BACKBONES
from tasks.uda.data import Batches, Domain, Split, check_pair, load_pair, normalize, together
from tasks.uda.fixed import behind_fixed
from tasks.uda.losses import Gaussian, kernel_mmd, separability
from tasks.uda.measures import class_accuracy, sizes
from tasks.uda.options import check_settings, check_warmup
from tasks.uda.schedules import SHORT, Recipe
from tasks.uda.systems import SYSTEMS, Batch, Setting, System

RECIPES = ("short", "published")
METRICS = ("accuracy", "class_accuracy")
_SAMPLES_PER_CLASS = 4
_CLASSES_SHOWN = 12
_COMPARED = 150  # images a domain between which the MMD is measured: its kernel holds all pairs at once
_SHOWN = 150  # images a domain whose features a run leaves
_AXES = 10


@dataclass(kw_only=True, eq=False)
class UDA(Problem):
    """Train on a labelled source domain and an unlabelled target domain; judge on the target.

    Parameters
    ----------
    source, target:
        Two different domains of the same classes, by their names in `tasks.uda.data.DOMAINS`.
    method, variant:
        A system by its name in `tasks.uda.systems.SYSTEMS`, and which of its `variants`.
    settings:
        The system's own, by name; what is not given is as in its `defaults`.
    backbone:
        A name in `tasks.uda.backbones.BACKBONES`; None: by the size of the images.
    recipe:
        Optimizer and learning-rate schedule: `short`, one Adam for all systems, for runs of seconds from scratch, or
        `published`, the system's own.
    steps:
        Training iterations.
    batch_size:
        Images per domain and iteration.
    lr, weight_decay:
        In place of the recipe's.
    recipe_changes:
        Other fields of `tasks.uda.schedules.Recipe` in place of the recipe's, such as `{"horizon": 10000}`.
    warmup:
        First iterations that train on the source alone; None: as the system asks for.
    data_seed:
        Of what is rendered. Not the run's seed: all runs see the same images.
    data_dir:
        Folder that holds what the domains are read from, where they are not built in (see the README); "hub": MNIST,
        USPS and SVHN from the Hugging Face hub; "hub:OWNER/NAME": photographs from that repository of it.
    protocol:
        Which images of MNIST, USPS and SVHN are trained on; see `tasks.uda.data.PROTOCOLS`.
    metric:
        What a run is judged by: `accuracy` or `class_accuracy`, see `evaluate`.

    Raises
    ------
    ValueError, TypeError
        An option out of its range, or of the wrong type.

    Examples
    --------
    >>> task = UDA(method="dann", steps=2, batch_size=16, settings={"tradeoff": 0.5})
    >>> task.setup(seed=0, device=torch.device("cpu"))
    >>> [(phase.name, *phase.losses) for phase in task.step(0)]
    [('adapt', 'alignment', 'classification')]
    """

    name = "uda"

    source: str = "font"
    target: str = "optical"
    method: str = "mcd"
    variant: str = "principled"
    settings: Mapping[str, Any] = field(default_factory=dict)
    backbone: str | None = None
    recipe: str = "short"
    steps: int = 500
    batch_size: int = 64
    lr: float | None = None
    weight_decay: float | None = None
    warmup: int | None = None
    data_seed: int = 0
    data_dir: str | None = None
    protocol: str = "held-out"
    recipe_changes: Mapping[str, Any] = field(default_factory=dict)
    metric: str = "accuracy"

    def __post_init__(self) -> None:
        one_of("method", self.method, SYSTEMS)
        check_pair(
            self.source,
            self.target,
            batch_size=self.batch_size,
            data_dir=self.data_dir,
            protocol=self.protocol,
            held_out=SYSTEMS[self.method].held_out,
        )
        one_of("variant", self.variant, SYSTEMS[self.method].variants)
        check_settings(self.method, self.settings)
        if self.backbone is not None:
            one_of("backbone", self.backbone, BACKBONES)
        one_of("recipe", self.recipe, RECIPES)
        integer("steps", self.steps, low=1)
        check_warmup(self.method, steps=self.steps, warmup=self.warmup)
        check_seed("data_seed", self.data_seed)
        if self.lr is not None:
            number("lr", self.lr, positive=True)
        if self.weight_decay is not None:
            number("weight_decay", self.weight_decay)
        one_of("metric", self.metric, METRICS)
        _ = self.optimization  # which checks what is changed in the recipe

    @property
    def outlines(self) -> dict[str, Outline]:
        system = SYSTEMS[self.method]
        return {name: Outline(len(system.tasks)) for name in system.pairs}

    @property
    def total_steps(self) -> int:
        return self.steps

    @property
    def optimization(self) -> Recipe:
        """The recipe that the options come to."""
        recipe = (SHORT if self.recipe == "short" else SYSTEMS[self.method].published).changed(self.recipe_changes)
        return replace(
            recipe,
            lr=recipe.lr if self.lr is None else self.lr,
            weight_decay=recipe.weight_decay if self.weight_decay is None else self.weight_decay,
        )

    def setup(self, *, seed: int, device: torch.device) -> None:
        source, target = load_pair(
            self.source, self.target, seed=self.data_seed, data_dir=self.data_dir, protocol=self.protocol
        )
        self._drawn: dict[str, Domain] = {"source": source, "target": target}
        self._domains = behind_fixed(self.backbone, self._drawn, device)
        channels, size = self._domains["source"].train.images.shape[1:3]
        self._device = device
        parts = {role: domain.train for role, domain in self._domains.items()}
        if share := SYSTEMS[self.method].held_out:
            parts["target"], parts["held-out"] = parts["target"].apart(share, seed=stream_seed(seed, "uda held out"))
        self._batches = {
            role: Batches(
                part.to(device),
                batch_size=min(self.batch_size, len(part)) if role == "held-out" else self.batch_size,
                seed=stream_seed(seed, f"uda {role} batches"),
                name=f"the training part of {self.source if role == 'source' else self.target}, the {role},",
            )
            for role, part in parts.items()
        }
        self.system: System = SYSTEMS[self.method](
            Setting(
                channels=channels,
                size=size,
                classes=len(source.classes),
                steps=self.steps,
                variant=self.variant,
                settings=self.settings,
                backbone=self.backbone,
                target_images=self._domains["target"].train.images,
                recipe=self.optimization,
                warmup=self.warmup,
                seed=seed,
                device=device,
            )
        )

    def step(self, index: int) -> Iterator[Phase]:
        images, labels = self._batches["source"].draw()
        unlabelled, _ = self._batches["target"].draw()
        held_out = self._batches["held-out"].draw()[0] if "held-out" in self._batches else None
        return self.system.iterate(Batch(images, labels, unlabelled, held_out), index)

    def evaluate(self) -> dict[str, float]:
        """How the system does on the test parts of both domains.

        `accuracy` and `source_accuracy`, in percent; `class_accuracy`, the mean over the target's classes of the
        percent correct of each, so that all classes count alike, however many images they have; of the features,
        `mmd` between the domains (some rows of each) and `separability`, max J(W), of the target's true classes, where
        there are more images than features: of fewer, it has no upper bound.
        """
        target = self._domains["target"].test
        features = self._features(target)
        source = self._features(self._domains["source"].test, _COMPARED, source=True)
        predicted = self._predict(target)
        found = {
            "accuracy": 100 * (predicted == target.labels).double().mean().item(),
            "class_accuracy": class_accuracy(predicted, target.labels),
            "source_accuracy": self._accuracy(self._domains["source"].test, source=True),
            "mmd": kernel_mmd([source], [features[:_COMPARED]], [Gaussian()]).item(),
        }
        if len(features) > features.shape[1]:
            found["separability"] = separability(features, target.labels, classes=self.system.setting.classes)
        return found

    def validation_score(self) -> float:
        """Percent correct on the source's validation part."""
        return self._accuracy(self._domains["source"].validation, source=True)

    def _accuracy(self, split: Split, *, source: bool = False) -> float:
        return 100 * (self._predict(split, source=source) == split.labels).double().mean().item()

    def _predict(self, split: Split, *, source: bool = False) -> Tensor:
        """Classes that the system predicts, in evaluation mode, [N] on the CPU."""
        with evaluating(self.system.networks), torch.no_grad():
            predictions = [
                self.system.probabilities(normalize(images.to(self._device)), source=source).argmax(dim=1)
                for images in split.images.split(together(split.images))
            ]
        return torch.cat(predictions).cpu()

    def _features(self, split: Split, rows: int | None = None, *, source: bool = False) -> Tensor:
        """Features of the first rows of a part (None: of all), in evaluation mode, [N, width] on the CPU."""
        shown = split.images if rows is None else split.first(rows).images
        with evaluating(self.system.networks), torch.no_grad():
            found = [
                self.system.features(normalize(images.to(self._device)), source=source).cpu()
                for images in shown.split(together(shown))
            ]
        return torch.cat(found)

    def state_dict(self) -> dict[str, Any]:
        # a copy: the parts' own dictionaries alias tensors that training goes on to overwrite
        return copy.deepcopy({name: part.state_dict() for name, part in self._stateful().items()})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])

    def _stateful(self) -> dict[str, Any]:
        return {"system": self.system, **{f"{role}_batches": batches for role, batches in self._batches.items()}}

    def exhibits(self) -> dict[str, Any]:
        """Samples of both domains, accuracy and confusion of classes on their test parts, and some features."""
        names = list(self._domains["source"].classes)
        predicted = {role: self._predict(one.test, source=role == "source") for role, one in self._domains.items()}
        series = {}
        for role, domain in self._domains.items():
            right = predicted[role] == domain.test.labels
            per_class = [right[domain.test.labels == kind].double() for kind in range(len(names))]
            shares = [100 * some.mean().item() if len(some) else None for some in per_class]  # None: not in this part
            series[f"{domain.name} ({role})"] = {"x": names, "y": shares}
        images = [
            {"caption": f"{domain.name} ({role}), training part", "png": _grid(domain)}
            for role, domain in self._drawn.items()
        ]
        pairs = (self._domains["target"].test.labels, predicted["target"])
        counts = torch.zeros(len(names), len(names), dtype=torch.int64)
        counts.index_put_(pairs, torch.ones_like(pairs[0]), accumulate=True)
        return {
            "domains": {"kind": "images", "images": images},
            "accuracy per class": {"kind": "lines", "x": "class", "y": "accuracy (%)", "series": series},
            "sizes": sizes(self._drawn.values()),
            "confusion": {"kind": "data", "classes": names, "values": counts.tolist()},
            "features": self._sampled_features(),
        }

    def _sampled_features(self) -> dict[str, Any]:
        """Features of some test images of both domains, on their first principal axes: what a picture of them needs."""
        parts = {role: domain.test for role, domain in self._domains.items()}
        found = [self._features(part, _SHOWN, source=role == "source") for role, part in parts.items()]
        rows = torch.cat(found).double()
        _, _, axes = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
        values = (rows - rows.mean(dim=0)) @ axes[:_AXES].T
        return {
            "kind": "data",
            "values": [[round(value, 3) for value in row] for row in values.tolist()],
            "domain": [self._domains[role].name for role, part in parts.items() for _ in part.labels[:_SHOWN]],
            "label": [int(label) for part in parts.values() for label in part.labels[:_SHOWN]],
        }


def _grid(domain: Domain) -> str:
    """A base64 PNG: one column per class, the first images of each; of many classes the first."""
    split = domain.train
    rows = [(split.labels == kind).nonzero().flatten()[:_SAMPLES_PER_CLASS] for kind in split.labels.unique()]
    shown = min(len(some) for some in rows)
    columns = [torch.cat(list(split.images[some[:shown]]), dim=1) for some in rows[:_CLASSES_SHOWN]]
    pixels = torch.cat(columns, dim=2).permute(1, 2, 0).numpy()
    return png(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
