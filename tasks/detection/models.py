"""DSSD: an encoder of shrinking maps, a decoder that enlarges them again, and predictions from each map.

Fu et al., DSSD: Deconvolutional Single Shot Detector, arXiv:1701.06659.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Self, cast

import torch
from torch import Tensor, nn
from transformers import ResNetModel

from mtlgrad.compare import checks
from tasks.detection.backbone import Encoder, resnet
from tasks.detection.config import CONFIGS, STAGES, Config, Fusion, Prediction, Stage
from tasks.detection.layers import Body, Decoder, Deconvolution, Head
from tasks.detection.priors import priors
from tasks.networks import seeded

_SMALL = 0.1  # of a prediction's first weights, to those that keep the variance


class Detector(nn.Module):
    """Predictions for each prior box of each image.

    Training has two stages, each with prediction modules and convolutions of its own: in "ssd" they read the encoder's
    maps, in "dssd" the decoder's. A stage's private parameters are its two convolutions per map; all else it trains
    is shared by localisation and classification.

    Parameters
    ----------
    backbone:
        As `tasks.detection.backbone.resnet` makes it.
    config:
        Sizes of the rest.
    classes:
        Number of classes, background not counted.

    Attributes
    ----------
    priors:
        [P, 4], as `tasks.detection.priors.priors` gives them.
    """

    priors: Tensor

    def __init__(self, backbone: ResNetModel, config: Config, *, classes: int) -> None:
        super().__init__()
        self.config = config
        self.classes = classes
        self.frozen = False
        self.encoder = Encoder(backbone, config)
        below = [config.decoder] * (len(config.cells) - 2) + [config.channels[-1]]
        self.decoder = Decoder(
            [
                Deconvolution(
                    channels, side, config.decoder, kernel=step.kernel, stride=step.stride, fusion=config.fusion
                )
                for channels, side, step in zip(below, config.channels, config.deconvolutions, strict=False)
            ]
        )
        decoded = [config.decoder] * (len(config.cells) - 1) + [config.channels[-1]]
        self.heads = nn.ModuleDict(
            {"ssd": _heads(config, config.channels, classes), "dssd": _heads(config, decoded, classes)}
        )
        for part in (self.encoder.extras, self.decoder, self.heads):
            _initialize(part)
        self.register_buffer("priors", priors(config), persistent=False)

    def forward(self, images: Tensor, *, stage: Stage = "dssd") -> tuple[Tensor, Tensor]:
        """Offsets [N, P, 4] and logits [N, P, classes + 1] (column 0: background) of images [N, 3, size, size].

        Images are in [0, 1]; normalisation is part of the network.

        Raises
        ------
        ValueError
            Unknown stage, or images of another shape.
        """
        checks.one_of("stage", stage, STAGES)
        size = self.config.size
        if images.ndim != 4 or images.shape[1:] != (3, size, size):
            raise ValueError(f"images have shape {tuple(images.shape)}; allowed: (N, 3, {size}, {size})")
        # on a CPU convolutions of maps with channels last cost a sixth less; the maps inherit the order
        maps = self.encoder(images.contiguous(memory_format=torch.channels_last))
        if stage == "dssd":
            maps = self.decoder(maps)
        predictions = [head(x) for head, x in zip(self._heads(stage), maps, strict=True)]
        offsets, logits = zip(*predictions, strict=True)
        return torch.cat(offsets, dim=1), torch.cat(logits, dim=1)

    def shared_parameters(self, stage: Stage) -> list[nn.Parameter]:
        """What the stage trains for localisation and classification together: all but its last convolutions.

        With `localisation_parameters` and `classification_parameters`, this is everything that the stage trains, each
        parameter once. A frozen encoder's are left out.
        """
        parts: list[nn.Module] = [self.encoder, *(head.module for head in self._heads(stage))]
        if stage == "dssd":
            parts.insert(1, self.decoder)
        return _trained(parts)

    def localisation_parameters(self, stage: Stage) -> list[nn.Parameter]:
        """The stage's localisation convolutions."""
        return _trained(head.localisation for head in self._heads(stage))

    def classification_parameters(self, stage: Stage) -> list[nn.Parameter]:
        """The stage's classification convolutions."""
        return _trained(head.classification for head in self._heads(stage))

    def freeze_encoder(self) -> None:
        """Stop training the encoder, batch norms' statistics included, as published for the second stage.

        It stays so, whatever `train` is called with; a state dict does not tell of it.
        """
        self.frozen = True
        self.encoder.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def _heads(self, stage: Stage) -> list[Head]:
        checks.one_of("stage", stage, STAGES)
        return cast(list[Head], list(cast(nn.ModuleList, self.heads[stage])))


def _heads(config: Config, inputs: Iterable[int], classes: int) -> nn.ModuleList:
    heads = nn.ModuleList()
    inside, outputs = config.prediction_channels
    for channels, kernel, prior in zip(inputs, config.kernels, config.priors, strict=True):
        module, width = (
            (nn.Identity(), channels) if config.prediction == "plain" else (Body(channels, inside, outputs), outputs)
        )
        heads.append(Head(module, width, kernel=kernel, boxes=prior.boxes, classes=classes))
    return heads


def _initialize(part: nn.Module) -> None:
    for module in part.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in part.modules():
        if isinstance(module, Head):
            # small weights: the first predictions are about the priors themselves and all classes alike, whatever the
            # depth below. Biases stay 0: hard negative mining already keeps the many background boxes from swamping
            # the first steps, which is what a bias towards background would be for.
            for last in (module.localisation, module.classification):
                nn.init.xavier_uniform_(last.weight, gain=_SMALL)


def _trained(parts: Iterable[nn.Module]) -> list[nn.Parameter]:
    return [parameter for part in parts for parameter in part.parameters() if parameter.requires_grad]


def build(
    config: str | Config,
    *,
    classes: int,
    seed: int,
    weights: str | None = None,
    fusion: Fusion | None = None,
    prediction: Prediction | None = None,
) -> Detector:
    """A detector on the CPU. Torch's global random state is left as it was.

    Parameters
    ----------
    config:
        A key of `CONFIGS`, or sizes of one's own.
    classes:
        Number of classes, background not counted.
    seed:
        Of the initial weights.
    weights:
        A local folder with a ResNet of the config's sizes, saved by `transformers` (`save_pretrained`). None: from
        scratch.
    fusion, prediction:
        In place of the config's.

    Raises
    ------
    TypeError
        `classes` is no int.
    ValueError
        Unknown config, fusion or prediction, no class, or `weights` that do not fit.

    Examples
    --------
    >>> model = build("dssd-small", classes=6, seed=0)
    >>> offsets, logits = model(torch.rand(2, 3, 128, 128))
    >>> offsets.shape, logits.shape, model.priors.shape
    (torch.Size([2, 2720, 4]), torch.Size([2, 2720, 7]), torch.Size([2720, 4]))
    """
    checks.integer("classes", classes, low=1)
    if isinstance(config, str):
        checks.one_of("config", config, CONFIGS)
        config = CONFIGS[config]
    if fusion is not None:
        config = replace(config, fusion=fusion)
    if prediction is not None:
        config = replace(config, prediction=prediction)
    with seeded(seed):
        return Detector(resnet(config, weights=weights), config, classes=classes)
