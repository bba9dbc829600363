"""Object detection with its two tasks, localisation and classification, for the training loop."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch

from mtlgrad.compare.checks import boolean, integer, number, one_of, text_or_none
from mtlgrad.compare.checks import seed as check_seed
from mtlgrad.compare.problem import Outline, Phase, Problem
from tasks.detection.config import CONFIGS, Fusion, Prediction, Stage
from tasks.detection.data import Collection, Parts, batch, evaluation_images, load
from tasks.detection.decoding import decode
from tasks.detection.exhibits import LEGEND, picture
from tasks.detection.losses import detection_losses
from tasks.detection.metrics import INTERPOLATIONS, evaluate, per_class
from tasks.detection.models import build
from tasks.detection.verdicts import Detections, Truth
from tasks.networks import evaluating
from tasks.sampling import batch_rows, stream_seed

TRAININGS = ("joint", "two-stage")
OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("linear", "published")

_MOMENTUM = 0.9  # of SGD, as published
_DROPS: dict[Stage, tuple[float, ...]] = {"ssd": (1 / 2, 3 / 4), "dssd": (2 / 3,)}  # 40k and 60k of 80k; 20k of 30k
_DROP = 0.1
_EVALUATION_BATCH = 50
_SHOWN = 4  # test images in the report


@dataclass(kw_only=True, eq=False)
class Detection(Problem):
    """DSSD: find the objects in an image and say what they are; task 1 *localisation*, task 2 *classification*.

    Shared are backbone, extra layers, deconvolutions and prediction modules; private are the two last convolutions of
    each map.

    Parameters
    ----------
    model, fusion, prediction, weights:
        Of the network, see `tasks.detection.models.build`; None: the model's own.
    training:
        `joint`: all of DSSD at once. `two-stage`, as published: the encoder with heads of its own (SSD), then the rest
        of DSSD with the encoder frozen.
    ssd_share:
        Share of the steps that the first stage gets; published: 80,000 of 110,000.
    steps, batch_size:
        Of training.
    optimizer, lr, weight_decay:
        `adam` (AdamW, whose decay is decoupled from the gradients), or `sgd` with momentum 0.9.
    schedule, warmup:
        `linear`: to 0 over the stage. `published`: times 0.1 after 1/2 and 3/4 of the first stage and 2/3 of the
        second, as which `joint` training counts. Before that `lr` rises linearly over the first `warmup` steps.
    augmented:
        Whether training images are cropped, expanded, flipped and recoloured as in SSD; if not, they are only resized.
    data_dir:
        A VOC devkit; None: `shapes-voc`, generated. See `tasks.detection.data.load`.
    skip_broken:
        Leave out images that cannot be read or whose annotation is wrong, and warn of how many, instead of stopping.
    negatives:
        Keep images of the devkit without objects, an error otherwise. They count in the average precision, by what is
        wrongly found in them; in training SSD's rule, three negatives for each positive, draws none from them.
    first_pixel:
        The number of the first row and column in the devkit's boxes: 1, as in VOC's own, or 0.
    data_seed:
        Of the generated scenes. Not the run's seed: all runs see the same images.
    interpolation:
        Of the average precision: `voc07` (11 points) or `area`.

    Raises
    ------
    ValueError, TypeError
        An option out of its range, or of the wrong type.

    Examples
    --------
    >>> task = Detection(steps=110, training="two-stage")
    >>> task.total_steps, task.options["model"]
    (110, 'dssd-small')
    """

    name = "detection"
    metric = "ap"

    model: str = "dssd-small"
    fusion: Fusion | None = None
    prediction: Prediction | None = None
    weights: str | None = None
    training: str = "joint"
    ssd_share: float = 8 / 11
    steps: int = 2000
    batch_size: int = 8
    optimizer: str = "adam"
    lr: float = 4e-3
    weight_decay: float = 5e-4
    schedule: str = "linear"
    warmup: int = 20
    augmented: bool = True
    data_dir: str | None = None
    skip_broken: bool = False
    negatives: bool = False
    first_pixel: int = 1
    data_seed: int = 0
    interpolation: str = "voc07"

    def __post_init__(self) -> None:
        one_of("model", self.model, CONFIGS)
        one_of("fusion", self.fusion, (None, *get_args(Fusion)))
        one_of("prediction", self.prediction, (None, *get_args(Prediction)))
        one_of("training", self.training, TRAININGS)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("interpolation", self.interpolation, INTERPOLATIONS)
        integer("steps", self.steps, low=2 if self.training == "two-stage" else 1)
        integer("batch_size", self.batch_size, low=1)
        integer("warmup", self.warmup, low=0)
        check_seed("data_seed", self.data_seed)
        number("ssd_share", self.ssd_share, positive=True, high=1)
        number("lr", self.lr, positive=True)
        number("weight_decay", self.weight_decay)
        text_or_none("weights", self.weights)
        text_or_none("data_dir", self.data_dir)
        boolean("augmented", self.augmented)
        boolean("skip_broken", self.skip_broken)
        boolean("negatives", self.negatives)
        integer("first_pixel", self.first_pixel, low=0, high=1)
        for name, left in (("skip_broken", False), ("negatives", False), ("first_pixel", 1)):
            if self.data_dir is None and getattr(self, name) != left:
                raise ValueError(f"{name}={getattr(self, name)} has no effect without data_dir; allowed: {left}")

    @property
    def outlines(self) -> dict[str, Outline]:
        return {"ssd": Outline(2), "dssd": Outline(2)}

    @property
    def total_steps(self) -> int:
        return self.steps

    def setup(self, *, seed: int, device: torch.device) -> None:
        self._seed = seed
        self._device = device
        self._parts = load(
            self.data_dir,
            seed=self.data_seed,
            on_error="skip" if self.skip_broken else "raise",
            negatives=self.negatives,
            first_pixel=0 if self.first_pixel == 0 else 1,
        )
        _warn_of_skipped(self._parts)
        self._model = build(
            self.model,
            classes=len(self._parts.train.classes),
            seed=stream_seed(seed, "weights"),
            weights=self.weights,
            fusion=self.fusion,
            prediction=self.prediction,
        ).to(device)
        # steps of the first of two stages
        self._first = min(self.steps - 1, max(1, round(self.ssd_share * self.steps)))
        self._enter("ssd" if self.training == "two-stage" else "dssd")

    def _enter(self, stage: Stage) -> None:
        """Begin a stage: what it trains, and a fresh optimizer of it."""
        model = self._model
        if stage == "dssd" and self.training == "two-stage":
            model.freeze_encoder()
        self._stage: Stage = stage
        self._shared = tuple(model.shared_parameters(stage))
        private = [*model.localisation_parameters(stage), *model.classification_parameters(stage)]
        parameters = [*self._shared, *private]
        self._optimizer: torch.optim.Optimizer = (
            torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)
            if self.optimizer == "adam"
            else torch.optim.SGD(parameters, lr=self.lr, momentum=_MOMENTUM, weight_decay=self.weight_decay)
        )

    def step(self, index: int) -> Iterator[Phase]:
        if self.training == "two-stage" and index == self._first:
            self._enter("dssd")
        for group in self._optimizer.param_groups:
            group["lr"] = self.lr * self._rate(index)
        rows = batch_rows(len(self._parts.train), self.batch_size, index, seed=stream_seed(self._seed, "batches"))
        drawn = batch(
            self._parts.train,
            rows,
            size=self._model.config.size,
            seed=stream_seed(self._seed, "augmentation"),
            index=index,
            augmented=self.augmented,
        ).to(self._device)
        offsets, logits = self._model(drawn.images, stage=self._stage)
        losses = detection_losses(offsets, logits, self._model.priors, drawn.boxes, drawn.labels)
        yield Phase(self._stage, losses, (self._optimizer,), shared=self._shared)

    def _rate(self, index: int) -> float:
        """The learning rate at a step, as a share of `lr`."""
        start, end = 0, self.steps
        if self.training == "two-stage":
            start, end = (0, self._first) if self._stage == "ssd" else (self._first, self.steps)
        done, length = index - start, end - start
        warm = min(1.0, (done + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "linear":
            return warm * (1 - done / length)
        return warm * _DROP ** sum(done >= drop * length for drop in _DROPS[self._stage])

    def evaluate(self) -> dict[str, float]:
        """Table 7's columns on the test part, in percent: `ap`, `ap50`, `ap60`, ..., `ap90`."""
        return self._precision(self._parts.test)

    def validation_score(self) -> float:
        """`ap` on the validation part, in percent."""
        return self._precision(self._parts.validation)["ap"]

    def _precision(self, part: Collection) -> dict[str, float]:
        found, truths = self._find_all(part)
        return evaluate(found, truths, classes=len(part.classes), interpolation=self.interpolation)

    def _find_all(self, part: Collection) -> tuple[list[Detections], list[Truth]]:
        """What is found in the images of a part, in their own pixels, and what is there."""
        found: list[Detections] = []
        truths: list[Truth] = []
        for rows in torch.arange(len(part)).split(_EVALUATION_BATCH):
            some, true = self._find(part, rows)
            found += some
            truths += true
        return found, truths

    def _find(self, part: Collection, rows: torch.Tensor) -> tuple[list[Detections], list[Truth]]:
        seen = evaluation_images(part, rows, size=self._model.config.size)
        model = self._model
        with evaluating(model), torch.no_grad():
            offsets, logits = model(seen.images.to(self._device), stage=self._stage)
        found = [
            Detections(
                (one.boxes.cpu().double() * torch.tensor([*size, *size])).numpy(),
                one.scores.cpu().double().numpy(),
                one.labels.cpu().numpy(),
            )
            for one, size in zip(decode(offsets, logits, model.priors), seen.sizes, strict=True)
        ]
        return found, list(seen.truths)

    def state_dict(self) -> dict[str, Any]:
        # a copy: the parts' own dictionaries alias tensors that training goes on to overwrite
        return copy.deepcopy(
            {"stage": self._stage, "model": self._model.state_dict(), "optimizer": self._optimizer.state_dict()}
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["stage"] != self._stage:
            self._enter(state["stage"])
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])

    def exhibits(self) -> dict[str, Any]:
        """Precision by class, and test images with predicted and true boxes, the same ones for every method."""
        part = self._parts.test
        found, truths = self._find_all(part)
        by_class = per_class(found, truths, names=part.classes, interpolation=self.interpolation)
        rows = torch.linspace(0, len(part) - 1, _SHOWN).round().long().unique().tolist()
        images = [picture(part.image(row), truth=truths[row], found=found[row], classes=part.classes) for row in rows]
        series = {"test": {"x": list(by_class), "y": list(by_class.values())}}
        return {
            "AP50 by class": {"kind": "lines", "x": "class", "y": "AP50 (%)", "series": series},
            f"Test images ({LEGEND})": {"kind": "images", "images": images},
        }


def _warn_of_skipped(parts: Parts) -> None:
    skipped = {**parts.train.skipped, **parts.test.skipped}  # validation images come from the training sets
    if skipped:
        warnings.warn(f"{len(skipped)} images are left out; the first: {next(iter(skipped.values()))}", stacklevel=3)
