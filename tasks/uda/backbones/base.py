"""What a system knows of its backbone, and the classifier that stands on it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mtlgrad.compare.checks import number


class Backbone(nn.Module):
    """Images [N, channels, size, size], in [-1, 1], to features [N, `width`].

    Parameters
    ----------
    layers:
        What computes them; None in a subclass with a `forward` of its own.
    width:
        Features an image.
    hidden:
        Widths of the hidden layers that a classifier on top has.
    pretrained:
        Whether the weights come from other data: its learning rate is then that of the recipe times `Recipe.trunk`.
    """

    def __init__(
        self, layers: nn.Module | None, *, width: int, hidden: Sequence[int] = (), pretrained: bool = False
    ) -> None:
        super().__init__()
        self.layers = layers
        self.width = width
        self.hidden = tuple(hidden)
        self.pretrained = pretrained

    def forward(self, images: Tensor) -> Tensor:
        assert self.layers is not None
        features: Tensor = self.layers(images)
        return features


def check_halved(name: str, size: int) -> None:
    """Raise ValueError unless images of a size can be halved five times."""
    if size < 32:
        raise ValueError(f"backbone={name!r} halves images five times; got size={size}; allowed: >= 32")


class Classifier(nn.Sequential):
    """Features [N, width] to logits [N, classes]: linear layers with batch norm and ReLU between them."""

    def __init__(self, width: int, hidden: Sequence[int], classes: int) -> None:
        layers: list[nn.Module] = []
        for out in hidden:
            layers += [nn.Linear(width, out), nn.BatchNorm1d(out), nn.ReLU()]
            width = out
        super().__init__(*layers, nn.Linear(width, classes))


class Discriminator(nn.Sequential):
    """Anything [N, width] to one logit a row, two hidden layers with ReLU and `dropout` after it: source or target.

    With `batch_norm` before each ReLU, both domains must pass together: apart, their means would be hidden.
    """

    def __init__(self, width: int, hidden: int, *, batch_norm: bool = False, dropout: float = 0.0) -> None:
        number("dropout", dropout, high=1)
        layers: list[nn.Module] = []
        for into in (width, hidden):
            layers += [nn.Linear(into, hidden), *([nn.BatchNorm1d(hidden)] if batch_norm else []), nn.ReLU()]
            layers += [nn.Dropout(dropout)] if dropout else []
        super().__init__(*layers, nn.Linear(hidden, 1))
