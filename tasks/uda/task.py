"""Unsupervised domain adaptation between two domains of digits, as a task for the training loop."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mtlgrad.compare.checks import integer, number, one_of, text_or_none
from mtlgrad.compare.problem import Phase, Problem
from tasks.networks import evaluating
from tasks.pictures import png
from tasks.uda.data import (
    BUILT_IN,
    CLASSES,
    FROM_FOLDER,
    TRAINED_ON,
    Batches,
    Domain,
    Split,
    image_shape,
    load_domain,
    normalize,
)
from tasks.uda.losses import ensemble
from tasks.uda.methods import Batch, Game, Method, Players, mcd, mcd_released, source_only
from tasks.uda.models import build

METHODS: dict[str, dict[str, Method]] = {
    "source_only": {"principled": source_only},
    "mcd": {"principled": mcd, "released": mcd_released},
}
"""Method and variant to the function that yields one iteration's phases."""

_EVALUATION_BATCH = 1000
_SAMPLES_PER_CLASS = 4


@dataclass(kw_only=True, eq=False)
class UDA(Problem):
    """Train on a labelled source domain and an unlabelled target domain; judge on the target.

    Parameters
    ----------
    source, target:
        Two different domains: `font`, `optical` (built in), `mnist`, `usps`, `svhn` (from `data_dir`).
    method, variant:
        `source_only`; `mcd`, `principled` or `released` (see `tasks.uda.methods`).
    steps:
        Training iterations.
    batch_size:
        Images per domain and iteration.
    lr, weight_decay:
        Of both Adam optimizers; `lr` falls linearly to 0 over the run.
    generator_steps:
        Repetitions of step C per iteration, MCD's k.
    tradeoff:
        Weight of the discrepancy in steps B and C. 1 is MCD's; at 1 the short runs here barely move the generator.
    warmup:
        First iterations that do step A only.
    data_seed:
        Of the rendering of `font`. Not the run's seed: all runs see the same images.
    data_dir:
        Folder that holds a folder per domain, for `mnist`, `usps` and `svhn`; given exactly when one of them is asked
        for.

    Raises
    ------
    ValueError, TypeError
        An option out of its range, or of the wrong type.

    Examples
    --------
    >>> task = UDA(steps=2, batch_size=16)
    >>> task.setup(seed=0, device=torch.device("cpu"))
    >>> [(phase.name, *phase.losses) for phase in task.step(0)][:3]
    [('A', 'classification'), ('B', 'adversarial'), ('C', 'alignment', 'classification')]
    """

    name = "uda"
    metric = "accuracy"

    source: str = "font"
    target: str = "optical"
    method: str = "mcd"
    variant: str = "principled"
    steps: int = 500
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 5e-4
    generator_steps: int = 2
    tradeoff: float = 5.0
    warmup: int = 0
    data_seed: int = 0
    data_dir: str | None = None

    def __post_init__(self) -> None:
        known = (*BUILT_IN, *FROM_FOLDER)
        one_of("source", self.source, known)
        one_of("target", self.target, [name for name in known if name != self.source])
        one_of("method", self.method, METHODS)
        one_of("variant", self.variant, METHODS[self.method])
        integer("steps", self.steps, low=1)
        domains = (self.source, self.target)
        most = min((TRAINED_ON[name] for name in domains if name in TRAINED_ON), default=None)
        integer("batch_size", self.batch_size, low=2, high=most)  # batch norm needs two
        integer("generator_steps", self.generator_steps, low=1)
        integer("warmup", self.warmup, low=0)
        integer("data_seed", self.data_seed, low=0)
        number("lr", self.lr, positive=True)
        number("tradeoff", self.tradeoff, positive=True)
        number("weight_decay", self.weight_decay)
        text_or_none("data_dir", self.data_dir)
        read = [name for name in domains if name in FROM_FOLDER]
        if read and self.data_dir is None:
            raise ValueError(f"data_dir=None does not do for {read[0]!r}; allowed: a folder that holds {read[0]!r}")
        if self.data_dir is not None and not read:
            built_in = f"{self.source!r} and {self.target!r} are built in"
            raise ValueError(f"data_dir={self.data_dir!r} has no effect: {built_in}; allowed: none")

    @property
    def total_steps(self) -> int:
        return self.steps

    def setup(self, *, seed: int, device: torch.device) -> None:
        channels, size = image_shape(self.source, self.target)
        source, target = (
            load_domain(name, channels=channels, size=size, seed=self.data_seed, data_dir=self.data_dir)
            for name in (self.source, self.target)
        )
        # independent streams from one seed: a change in what one draws leaves the others alone
        seeds = [int(word) for word in np.random.SeedSequence(seed).generate_state(3)]
        self._domains: dict[str, Domain] = {"source": source, "target": target}
        self._device = device
        self._batches = {
            "source": Batches(source.train.to(device), batch_size=self.batch_size, seed=seeds[0]),
            "target": Batches(target.train.to(device), batch_size=self.batch_size, seed=seeds[1]),
        }
        generator, classifiers = build(channels=channels, size=size, seed=seeds[2])
        generator.to(device)
        classifiers.to(device)
        self._players = Players(generator, classifiers, self._adam(generator), self._adam(classifiers))

    def _adam(self, module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(module.parameters(), lr=self.lr, weight_decay=self.weight_decay)

    def step(self, index: int) -> Iterator[Phase]:
        players = self._players
        for optimizer in (players.generator_optimizer, players.classifiers_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = self.lr * (1 - index / self.steps)
        images, labels = self._batches["source"].draw()
        unlabelled, _ = self._batches["target"].draw()
        method = source_only if index < self.warmup else METHODS[self.method][self.variant]
        return method(players, Batch(images, labels, unlabelled), Game(self.generator_steps, self.tradeoff))

    def evaluate(self) -> dict[str, float]:
        """Percent correct on the test parts of the target (`accuracy`) and the source (`source_accuracy`)."""
        return {
            "accuracy": self._accuracy(self._domains["target"].test),
            "source_accuracy": self._accuracy(self._domains["source"].test),
        }

    def validation_score(self) -> float:
        """Percent correct on the source's validation part."""
        return self._accuracy(self._domains["source"].validation)

    def _accuracy(self, split: Split) -> float:
        return 100 * (self._predict(split) == split.labels).double().mean().item()

    def _predict(self, split: Split) -> Tensor:
        """Classes by the mean probability of the two classifiers, in evaluation mode, [N] on the CPU."""
        players = self._players
        with evaluating(players.generator, players.classifiers), torch.no_grad():
            predictions = [
                ensemble(players.classify(players.generator(normalize(images.to(self._device))))).argmax(dim=1)
                for images in split.images.split(_EVALUATION_BATCH)
            ]
        return torch.cat(predictions).cpu()

    def state_dict(self) -> dict[str, Any]:
        # a copy: the parts' own dictionaries alias tensors that training goes on to overwrite
        return copy.deepcopy({name: part.state_dict() for name, part in self._stateful().items()})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])

    def _stateful(self) -> dict[str, Any]:
        players = self._players
        return {
            "generator": players.generator,
            "classifiers": players.classifiers,
            "generator_optimizer": players.generator_optimizer,
            "classifiers_optimizer": players.classifiers_optimizer,
            "source_batches": self._batches["source"],
            "target_batches": self._batches["target"],
        }

    def exhibits(self) -> dict[str, Any]:
        """Samples of both domains, and the accuracy per class on their test parts."""
        classes = list(range(CLASSES))
        series = {}
        for role, domain in self._domains.items():
            right = self._predict(domain.test) == domain.test.labels
            per_class = [100 * right[domain.test.labels == digit].double().mean().item() for digit in classes]
            series[f"{domain.name} ({role})"] = {"x": classes, "y": per_class}
        images = [
            {"caption": f"{domain.name} ({role}), training part", "png": _grid(domain.train)}
            for role, domain in self._domains.items()
        ]
        return {
            "domains": {"kind": "images", "images": images},
            "accuracy per class": {"kind": "lines", "x": "digit", "y": "accuracy (%)", "series": series},
        }


def _grid(split: Split) -> str:
    """A base64 PNG: one column per class, the first images of each."""
    columns = [
        torch.cat(list(split.images[split.labels == digit][:_SAMPLES_PER_CLASS]), dim=1) for digit in range(CLASSES)
    ]
    pixels = torch.cat(columns, dim=2).permute(1, 2, 0).numpy()
    return png(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
