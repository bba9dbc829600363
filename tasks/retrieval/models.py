"""TIRG: an image encoder, a text encoder and the gated residual that composes the two.

Vo et al., Composing Text and Image for Image Retrieval - An Empirical Odyssey, CVPR 2019, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

from tasks.networks import seeded

Form = Literal["fc", "lastconv"]

SCALE = 4.0  # initial length of a feature, learned from there; as published
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet: what pretrained weights were trained on


@dataclass(frozen=True)
class Architecture:
    """Sizes of the encoders.

    `stem`, `stages`, `depths`: channels of the first convolution, channels and basic blocks of each ResNet stage.
    `grid`: the last map is averaged to `grid` x `grid` before the linear layer. `width`: of features, word vectors
    and the LSTM. `dropout`: of the LSTM's state.
    """

    stem: int
    stages: tuple[int, ...]
    depths: tuple[int, ...]
    grid: int
    width: int
    dropout: float


ARCHITECTURES = {
    # 3x3: one value per cell of the scene, which the small map's receptive field would not tell apart once averaged
    "small": Architecture(stem=16, stages=(32, 64), depths=(1, 1), grid=3, width=96, dropout=0.0),
    "published": Architecture(stem=64, stages=(64, 128, 256, 512), depths=(2, 2, 2, 2), grid=1, width=512, dropout=0.1),
}
"""`published` is ResNet-18 with features of 512."""


def gated_residual(x: Tensor, gate: Tensor, residual: Tensor, a: Tensor) -> Tensor:
    """f = a0 sigmoid(gate) x + a1 residual, elementwise; Vo et al. 2019, Eq. 1, with Eq. 2's sigmoid.

    >>> gated_residual(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([0.5]), torch.tensor([1.0, 10.0]))
    tensor([6.])
    """
    return a[0] * gate.sigmoid() * x + a[1] * residual


class VectorComposition(nn.Module):
    """Composition of an image's feature [N, width] with a text's [N, width] (`form="fc"`).

    Gate: BN-ReLU-FC; residual: BN-ReLU-FC-ReLU-FC; both of the two features side by side.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        both = 2 * width
        self.a = nn.Parameter(torch.tensor([1.0, 10.0]))
        self.gate = nn.Sequential(nn.BatchNorm1d(both), nn.ReLU(), nn.Linear(both, width))
        self.residual = nn.Sequential(
            nn.BatchNorm1d(both), nn.ReLU(), nn.Linear(both, both), nn.ReLU(), nn.Linear(both, width)
        )

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        both = torch.cat([x, text], dim=1)
        return gated_residual(x, self.gate(both), self.residual(both), self.a)


class MapComposition(nn.Module):
    """Composition of the last convolution's map [N, channels, h, w] with a text [N, width] (`form="lastconv"`).

    Gate and residual: BN-conv3-ReLU-conv3 of the map, with the text repeated at each of its places.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([1.0, 10.0]))
        self.gate, self.residual = (self._convolutions(channels, channels + width) for _ in range(2))

    @staticmethod
    def _convolutions(channels: int, both: int) -> nn.Sequential:
        return nn.Sequential(
            nn.BatchNorm2d(both),
            nn.Conv2d(both, both, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(both, channels, 3, padding=1),
        )

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        everywhere = text[:, :, None, None].expand(-1, -1, *x.shape[2:])
        both = torch.cat([x, everywhere], dim=1)
        return gated_residual(x, self.gate(both), self.residual(both), self.a)


class TextEncoder(nn.Module):
    """Word numbers [N, L] with lengths [N] to text features [N, width]: embedding, LSTM, its last state, FC."""

    def __init__(self, words: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, width))

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(tokens))
        # padding follows the words, so that the state at the last word has not seen it
        last = states[torch.arange(len(states), device=states.device), lengths - 1]
        return cast(Tensor, self.head(last))


class Tirg(nn.Module):
    """Features of images, and of images modified by texts, on one sphere whose radius is learned.

    Images come in [0, 1]: whatever attacks them acts on pixels, and normalisation is part of the network.

    Parameters
    ----------
    backbone:
        Images to a map, as `transformers.ResNetModel`.
    words:
        Size of the vocabulary.
    architecture:
        Of the rest; `stem`, `stages` and `depths` are not looked at.
    form:
        Where the text acts: on the last vector ("fc") or on the last convolution's map ("lastconv").

    Raises
    ------
    ValueError
        Unknown form.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: ResNetModel, *, words: int, architecture: Architecture, form: Form) -> None:
        super().__init__()
        if form not in get_args(Form):
            raise ValueError(f"form={form!r} is unknown; allowed: {get_args(Form)}")
        channels, width = list(backbone.config.hidden_sizes or ())[-1], architecture.width
        self.form = form
        self.backbone = backbone
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(architecture.grid), nn.Flatten(), nn.Linear(channels * architecture.grid**2, width)
        )
        self.text = TextEncoder(words, width, architecture.dropout)
        self.composition = VectorComposition(width) if form == "fc" else MapComposition(channels, width)
        self.scale = nn.Parameter(torch.tensor(SCALE))
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """Features [N, width] of images [N, 3, S, S] in [0, 1], of length `scale`."""
        return self._on_sphere(self.head(self._map(images)))

    def compose(self, images: Tensor, text: Tensor) -> Tensor:
        """Features [N, width], of length `scale`, of what texts (their features, [N, width]) make of the images."""
        if self.form == "fc":
            return self._on_sphere(self.composition(self.head(self._map(images)), text))
        return self._on_sphere(self.head(self.composition(self._map(images), text)))

    def _map(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.backbone((images - self.mean) / self.std).last_hidden_state)

    def _on_sphere(self, x: Tensor) -> Tensor:
        return self.scale * F.normalize(x, dim=1)


def build(*, words: int, seed: int, architecture: str = "small", form: Form = "fc", weights: str | None = None) -> Tirg:
    """A model on the CPU. Torch's global random state is left as it was.

    Parameters
    ----------
    words:
        Size of the vocabulary.
    seed:
        Of the initial weights.
    architecture:
        A key of `ARCHITECTURES`.
    form:
        "fc" or "lastconv".
    weights:
        A local folder with a ResNet saved by `transformers` (`save_pretrained`), which is then the image encoder,
        whatever its size; the architecture decides the rest. None: from scratch.

    Raises
    ------
    ValueError
        Unknown architecture or form.
    OSError
        `weights` holds no model.

    Examples
    --------
    >>> model = build(words=30, seed=0)
    >>> text = model.text(torch.ones(2, 4, dtype=torch.int64), torch.tensor([4, 2]))
    >>> model.compose(torch.rand(2, 3, 32, 32), text).shape
    torch.Size([2, 96])
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture={architecture!r} is unknown; allowed: {tuple(ARCHITECTURES)}")
    sizes = ARCHITECTURES[architecture]
    with seeded(seed):
        if weights is None:
            config = ResNetConfig(
                embedding_size=sizes.stem,
                hidden_sizes=list(sizes.stages),
                depths=list(sizes.depths),
                layer_type="basic",
            )
            backbone = ResNetModel(config)
        else:
            backbone = ResNetModel.from_pretrained(weights, local_files_only=True)
            backbone.train()
        return Tirg(backbone, words=words, architecture=sizes, form=form)
