"""Vision transformers whose blocks can be reached, as self-refinement asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tasks.uda.backbones.base import Backbone

Perturbation = tuple[int, Callable[[Tensor], Tensor]]
"""A block, and what is done to the tokens [N, tokens, width] that enter it."""

SIZES = {16: 4, 28: 4, 32: 4}
"""Image size to patch size of the small transformer."""


class Transformer(Backbone):
    """A backbone of blocks, called one after another on tokens.

    `forward` takes a perturbation of the tokens that enter one block, by which SSRT makes its second view.
    """

    def blocks(self) -> Sequence[nn.Module]:
        """Tokens to tokens, in order."""
        raise NotImplementedError

    def embed(self, images: Tensor) -> Tensor:
        """Images to the tokens that enter the first block."""
        raise NotImplementedError

    def read(self, tokens: Tensor) -> Tensor:
        """The tokens that leave the last block to features [N, width]."""
        raise NotImplementedError

    def forward(self, images: Tensor, perturbation: Perturbation | None = None) -> Tensor:
        tokens = self.embed(images)
        for number, block in enumerate(self.blocks()):
            if perturbation is not None and number == perturbation[0]:
                tokens = perturbation[1](tokens)
            out = block(tokens)
            tokens = out[0] if isinstance(out, tuple) else out
        return self.read(tokens)


class _Small(Transformer):
    def __init__(self, channels: int, size: int, *, width: int, depth: int, heads: int) -> None:
        super().__init__(None, width=width)
        patch = SIZES[size]
        # convolutions in place of one linear map of a patch: from scratch, a transformer learns far sooner behind them
        self.patches = nn.Sequential(
            nn.Conv2d(channels, width // 2, 3, stride=2, padding=1),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, stride=patch // 2, padding=1),
        )
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + (size // patch) ** 2, width))
        self.layers_of_tokens = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def blocks(self) -> Sequence[nn.Module]:
        return list(self.layers_of_tokens)

    def embed(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1) + self.positions

    def read(self, tokens: Tensor) -> Tensor:
        features: Tensor = self.norm(tokens[:, 0])
        return features


def vit_small(channels: int, size: int) -> Transformer:
    """A transformer from scratch: two strided convolutions to a token for each 4x4 pixels, 48 features, three blocks of
    four heads; no dropout.

    It is of this project's making, for digits on one core. The published systems start from ViT-B/16 pretrained on
    ImageNet (`vit_b16`).

    Raises
    ------
    ValueError
        No patch size for this image size.

    Examples
    --------
    >>> vit_small(1, 16)(torch.zeros(2, 1, 16, 16)).shape
    torch.Size([2, 48])
    """
    if size not in SIZES:
        raise ValueError(f"backbone='vit_small' has no patches for size={size}; allowed: {sorted(SIZES)}")
    return _Small(channels, size, width=48, depth=3, heads=4)
