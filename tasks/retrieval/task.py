"""Retrieval by image and text, clean and under attack, as a task for the training loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor

from mtlgrad.compare.checks import boolean, integer, number, one_of, text_or_none
from mtlgrad.compare.checks import seed as check_seed
from mtlgrad.compare.problem import Outline, Phase, Problem
from tasks.networks import evaluating
from tasks.retrieval.attack import gaussian, pgd
from tasks.retrieval.css import VIEWS
from tasks.retrieval.data import Encoded, Vocabulary, load, queries_by_rule
from tasks.retrieval.exhibits import SHOWN, Answer, choose, picture
from tasks.retrieval.losses import batch_softmax, draw_triplets, gallery_softmax, soft_triplet
from tasks.retrieval.metrics import AT, ranks, recall, similarities
from tasks.retrieval.models import ARCHITECTURES, Form, build
from tasks.sampling import batch_rows, stream_seed

METHODS = {"tirg": ("principled",), "at-tirg": ("principled", "released")}
"""Method to its variants."""
LOSSES = ("softmax", "triplet")
OPTIMIZERS = ("adam", "sgd")
SELECTIONS = ("clean", "both")

RELEASED_DEVIATION = 0.3
"""Of the Gaussian noise in the released code."""

_MOMENTUM = 0.9  # of SGD, as published
_EVALUATION_BATCH = 500

_Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(kw_only=True, eq=False)
class Retrieval(Problem):
    """TIRG on CSS: find the image that a source image becomes by a text; judged on clean and on attacked sources.

    Parameters
    ----------
    method, variant:
        `tirg`: the loss of clean queries alone. `at-tirg`: with the loss of attacked queries. `principled`: an attack
        up the loss, task 1 *adversarial*, task 2 *clean*. `released`: as the code released with the GH paper, task 1
        *clean*, task 2 *noisy*, Gaussian noise in place of an attack. All parameters are shared.
    form, architecture, weights:
        Of the model, see `tasks.retrieval.models.build`.
    loss:
        `softmax` (`batch_softmax`) or `triplet` (`soft_triplet`).
    steps, batch_size:
        Of training; a batch holds queries.
    optimizer, lr, weight_decay:
        `adam`, or `sgd` with momentum 0.9; `lr` falls linearly to 0 over the run.
    epsilon:
        Half-width of the attack's box, in units of the pixel range, in training and at test.
    train_attack_steps, test_attack_steps:
        Of `tasks.retrieval.attack.pgd`; 1 is the fast gradient sign method.
    image_size:
        Side in pixels.
    full:
        The published numbers of images and queries by rule, not the default's.
    data_seed:
        Of the scenes. Not the run's seed: all runs see the same images.
    data_dir, view:
        A folder with the published files, and which images of them: see `tasks.retrieval.css`.
    selection:
        What the validation score is: R@1 of `clean` queries, or the mean over clean and attacked ones (`both`).

    Raises
    ------
    ValueError, TypeError
        An option out of its range, or of the wrong type.

    Examples
    --------
    >>> task = Retrieval(steps=2, batch_size=8, image_size=16)
    >>> task.setup(seed=0, device=torch.device("cpu"))
    >>> [(phase.name, *phase.losses) for phase in task.step(0)]
    [('pair', 'adversarial', 'clean')]
    """

    name = "retrieval"
    metric = "adversarial_r1"

    method: str = "at-tirg"
    variant: str = "principled"
    form: Form = "fc"
    architecture: str = "small"
    weights: str | None = None
    loss: str = "softmax"
    steps: int = 500
    batch_size: int = 64
    optimizer: str = "adam"
    lr: float = 2e-3
    weight_decay: float = 1e-6
    epsilon: float = 8 / 255
    train_attack_steps: int = 1
    test_attack_steps: int = 5
    image_size: int = 32
    full: bool = False
    data_seed: int = 0
    data_dir: str | None = None
    view: str = "2d"
    selection: str = "clean"

    def __post_init__(self) -> None:
        one_of("method", self.method, METHODS)
        one_of("variant", self.variant, METHODS[self.method])
        one_of("form", self.form, get_args(Form))
        one_of("architecture", self.architecture, ARCHITECTURES)
        one_of("loss", self.loss, LOSSES)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("view", self.view, VIEWS)
        one_of("selection", self.selection, SELECTIONS)
        integer("steps", self.steps, low=1)
        text_or_none("weights", self.weights)
        text_or_none("data_dir", self.data_dir)
        boolean("full", self.full)
        if self.data_dir is None and self.view != "2d":
            raise ValueError(f"view={self.view!r} has no effect without data_dir; allowed: '2d'")
        if self.data_dir is not None and self.full:
            raise ValueError("full=True has no effect with data_dir; allowed: false")
        most = queries_by_rule(full=self.full) if self.data_dir is None else None
        integer("batch_size", self.batch_size, low=3, high=most)  # a triplet's anchor needs three negatives
        integer("train_attack_steps", self.train_attack_steps, low=1)
        integer("test_attack_steps", self.test_attack_steps, low=1)
        integer("image_size", self.image_size, low=16)
        check_seed("data_seed", self.data_seed)
        number("lr", self.lr, positive=True)
        number("weight_decay", self.weight_decay)
        number("epsilon", self.epsilon, high=1)

    @property
    def outlines(self) -> dict[str, Outline]:
        return {"pair": Outline(2)}

    @property
    def total_steps(self) -> int:
        return self.steps

    def setup(self, *, seed: int, device: torch.device) -> None:
        self._seed = seed
        self._parts = load(
            size=self.image_size, seed=self.data_seed, full=self.full, data_dir=self.data_dir, view=self.view
        )
        vocabulary = Vocabulary(self._parts.train.texts)
        self._train, self._validation, self._test = (
            Encoded.of(part, vocabulary, device)
            for part in (self._parts.train, self._parts.validation, self._parts.test)
        )
        self._model = build(
            words=len(vocabulary),
            seed=stream_seed(self._seed, "weights"),
            architecture=self.architecture,
            form=self.form,
            weights=self.weights,
        ).to(device)
        parameters = list(self._model.parameters())
        self._optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay)
            if self.optimizer == "adam"
            else torch.optim.SGD(parameters, lr=self.lr, momentum=_MOMENTUM, weight_decay=self.weight_decay)
        )

    def _generator(self, stream: str, index: int) -> torch.Generator:
        return torch.Generator().manual_seed(stream_seed(self._seed, stream, index))

    def step(self, index: int) -> Iterator[Phase]:
        for group in self._optimizer.param_groups:
            group["lr"] = self.lr * (1 - index / self.steps)
        part, model = self._train, self._model
        rows = batch_rows(len(part), self.batch_size, index, seed=stream_seed(self._seed, "batches"))
        rows = rows.to(part.images.device)
        sources, targets = part.pixels(part.sources[rows]), part.pixels(part.targets[rows])
        tokens, lengths = part.tokens[rows], part.lengths[rows]
        loss = self._training_loss(index)

        names, queries = ["clean"], [sources]
        if self.method == "at-tirg" and self.variant == "principled":
            with evaluating(model), torch.no_grad():
                frozen_text, frozen_targets = model.text(tokens, lengths), model.features(targets)
                attacked = pgd(
                    lambda images: loss(model.compose(images, frozen_text), frozen_targets),
                    sources,
                    epsilon=self.epsilon,
                    steps=self.train_attack_steps,
                )
            names, queries = ["adversarial", "clean"], [attacked, sources]
        elif self.method == "at-tirg":
            noisy = gaussian(sources, deviation=RELEASED_DEVIATION, generator=self._generator("noise", index))
            names, queries = ["clean", "noisy"], [sources, noisy]

        text, found = model.text(tokens, lengths), model.features(targets)
        losses = {name: loss(model.compose(images, text), found) for name, images in zip(names, queries, strict=True)}
        shared = tuple(model.parameters()) if len(losses) > 1 else ()
        yield Phase("pair" if shared else "clean", losses, (self._optimizer,), shared=shared)

    def _training_loss(self, index: int) -> _Loss:
        """Query features and target features to the loss of step `index`."""
        if self.loss == "softmax":
            return batch_softmax
        return partial(
            soft_triplet, triplets=draw_triplets(self.batch_size, generator=self._generator("triplets", index))
        )

    def evaluate(self) -> dict[str, float]:
        """R@1, 5, 10, 50 and 100 on the test part, in percent: `clean_r1`, ..., `adversarial_r100`."""
        return self._recalls(self._test, ("clean", "adversarial"))

    def validation_score(self) -> float:
        """R@1 on the validation part, in percent: see `selection`."""
        kinds = ("clean",) if self.selection == "clean" else ("clean", "adversarial")
        found = self._recalls(self._validation, kinds)
        return sum(found[f"{kind}_r1"] for kind in kinds) / len(kinds)

    def _recalls(self, part: Encoded, kinds: tuple[str, ...]) -> dict[str, float]:
        gallery = self._gallery(part)
        everything = torch.arange(len(part), device=part.images.device)
        recalls: dict[str, float] = {}
        for kind in kinds:
            queries, _ = self._queries(part, gallery, everything, attacked=kind == "adversarial")
            found = ranks(queries, gallery, wanted=part.wanted, scenes=part.scenes, sources=part.sources)
            recalls |= {f"{kind}_r{count}": share for count, share in recall(found, AT).items()}
        return recalls

    @torch.no_grad()
    def _gallery(self, part: Encoded) -> Tensor:
        """Features of all images of a part, [N, width]."""
        rows = torch.arange(len(part.images), device=part.images.device).split(_EVALUATION_BATCH)
        with evaluating(self._model):
            return torch.cat([self._model.features(part.pixels(some)) for some in rows])

    @torch.no_grad()
    def _queries(self, part: Encoded, gallery: Tensor, queries: Tensor, *, attacked: bool) -> tuple[Tensor, Tensor]:
        """Features [Q, width] of these queries of a part, and their source images in [0, 1], attacked or as they are.

        The attack raises `gallery_softmax`, whatever loss the model was trained with.
        """
        model, features, images = self._model, [], []
        with evaluating(model):
            for rows in queries.split(_EVALUATION_BATCH):
                pixels = part.pixels(part.sources[rows])
                text = model.text(part.tokens[rows], part.lengths[rows])
                if attacked:
                    admitted = torch.ones(len(rows), len(gallery), dtype=torch.bool, device=gallery.device)
                    admitted = admitted.scatter(1, part.sources[rows, None], False)
                    correct = (part.wanted[rows, None] == part.scenes) & admitted
                    pixels = pgd(
                        partial(self._test_loss, text=text, gallery=gallery, correct=correct, admitted=admitted),
                        pixels,
                        epsilon=self.epsilon,
                        steps=self.test_attack_steps,
                    )
                features.append(model.compose(pixels, text))
                images.append(pixels)
        return torch.cat(features), torch.cat(images)

    def _test_loss(self, images: Tensor, *, text: Tensor, gallery: Tensor, correct: Tensor, admitted: Tensor) -> Tensor:
        return gallery_softmax(self._model.compose(images, text), gallery, correct, admitted)

    def state_dict(self) -> dict[str, Any]:
        # a copy: the parts' own dictionaries alias tensors that training goes on to overwrite
        return copy.deepcopy({"model": self._model.state_dict(), "optimizer": self._optimizer.state_dict()})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])

    def exhibits(self) -> dict[str, Any]:
        """A test query of each kind with the images found first, from the clean and from the attacked source."""
        part, gallery = self._test, self._gallery(self._test)
        rows = choose(self._parts.test.texts).to(part.images.device)
        clean, attacked = (self._answers(gallery, rows, attacked=attacked) for attacked in (False, True))
        shown = {}
        for place, row in enumerate(rows.tolist()):
            image = picture(clean=clean[place], attacked=attacked[place], target=part.pixels(part.targets[row]))
            title = f"“{self._parts.test.texts[row]}”: source, first {SHOWN} found, target; clean, then attacked"
            shown[title] = {"kind": "images", "broad": True, "images": [image]}
        return shown

    def _answers(self, gallery: Tensor, rows: Tensor, *, attacked: bool) -> list[Answer]:
        part = self._test
        features, sources = self._queries(part, gallery, rows, attacked=attacked)
        labels = {"wanted": part.wanted[rows], "scenes": part.scenes, "sources": part.sources[rows]}
        first = similarities(features, gallery, part.sources[rows]).topk(SHOWN, dim=1).indices
        right = part.scenes[first] == part.wanted[rows, None]
        return [
            Answer(source, part.pixels(found), correct, int(rank))
            for source, found, correct, rank in zip(
                sources, first, right, ranks(features, gallery, **labels), strict=True
            )
        ]
