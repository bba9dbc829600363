"""Awkward models, one list for every engine's tests: each a trunk, heads that pull apart, and a batch.

A model is a function of a dtype that returns an `Awkward`; what makes it awkward is its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

WIDTH = 5
"""Of every trunk's output [rows, 5]."""


@dataclass
class Awkward:
    """A trunk with its batch; every call of `features` is a new forward pass."""

    trunk: nn.Module
    forward: Callable[[], Tensor]
    """The representation: [rows, ..., 5]."""

    def losses(self, m: int, heads: nn.ModuleList) -> dict[str, Tensor]:
        """m losses [] through heads of their own, with targets that pull apart."""
        z = self.forward()
        targets = torch.linspace(-1, 1, m, dtype=z.dtype)
        return {
            f"t{i}": (1 + i) * (head(z) - targets[i]).square().mean() for i, head in zip(range(m), heads, strict=False)
        }


def heads(m: int, dtype: torch.dtype) -> nn.ModuleList:
    torch.manual_seed(m)
    return nn.ModuleList([nn.Linear(WIDTH, 2) for _ in range(m)]).to(dtype)


def _batch(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(7))


def _made(make: Callable[[], nn.Module], *shape: int) -> Callable[[torch.dtype], Awkward]:
    def build(dtype: torch.dtype) -> Awkward:
        torch.manual_seed(0)
        trunk = make()
        with torch.no_grad():
            trunk(_batch(*shape, dtype=torch.float32))  # lazy layers take their shape
        trunk.to(dtype)
        x = _batch(*shape, dtype=dtype)
        return Awkward(trunk, lambda: trunk(x))

    return build


class Tied(nn.Module):
    """One weight in two places, one of them transposed, and a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)
        self.two.weight = self.one.weight
        self.last = nn.Linear(6, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        h = self.two(torch.tanh(self.one(x)))
        return self.last(torch.tanh(self.one(h)))


class BothWays(nn.Module):
    """One square weight, used as it is and transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(F.linear(x, self.weight)) @ self.weight


class Branches(nn.Module):
    """Residual and branching, with layers of which one is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.idle = nn.Linear(6, 6), nn.Linear(6, 6, bias=False), nn.Linear(6, 6)
        self.last = nn.Linear(12, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        h = x + torch.relu(self.a(x))
        return self.last(torch.cat([h, torch.sigmoid(self.b(h))], dim=-1))


class OfLists(nn.Module):
    """Takes and gives nested containers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, WIDTH)])

    def pairs(self, x: list[Tensor]) -> dict[str, list[Tensor]]:
        return {"hidden": [torch.tanh(self.layers[0](one)) for one in x]}

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.pairs(list(x.chunk(2)))["hidden"]
        return torch.cat([self.layers[1](h) for h in hidden])


class Frozen(nn.Module):
    """A frozen layer between trained ones, and a frozen bias."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, WIDTH))
        self.layers[2].requires_grad_(False)
        self.layers[4].bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ByHand(nn.Module):
    """A functional weight [in, out], scaled and shifted by parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.randn(6, WIDTH)), nn.Parameter(torch.ones(WIDTH))
        self.shift = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.shift, x, self.weight) * self.scale


class Modern(nn.Module):
    """Root-mean-square norms, learned positions, a scale for each channel, and a gate that is a number."""

    def __init__(self) -> None:
        super().__init__()
        self.positions, self.gate = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.tensor(0.5))
        self.norm, self.channels = nn.RMSNorm(6), nn.Parameter(torch.randn(1, 4, 1))
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.add(x, self.positions, alpha=2.0)
        x = x + self.gate * self.first(self.norm(x))
        return self.last(self.channels * x)


class Words(nn.Module):
    """An embedding with a padding entry and repeated words, and a layer norm."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(9, 6, padding_idx=0), nn.LayerNorm(6)
        self.last = nn.Linear(6, WIDTH)
        self.tied = tied
        self.words = torch.tensor([[1, 2, 0, 2], [3, 1, 1, 0], [8, 8, 2, 5]])

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.embedding(self.words)) + float(x[0, 0])
        if self.tied:
            h = F.linear(torch.tanh(h @ self.embedding.weight.T), self.embedding.weight.T)
        return self.last(h)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
        self.last = nn.Linear(6, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(x))


class Seen(nn.Module):
    """Convolutions with strides, padding, dilation and groups, in one and two dimensions, and a group norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.GroupNorm(2, 4), nn.ReLU(),
            nn.Conv2d(4, 4, 3, dilation=2, padding=2, bias=False), nn.ReLU(),
            nn.Conv2d(4, 4, 1, groups=2), nn.Flatten(2), nn.Conv1d(4, 3, 3, stride=2, padding=1), nn.Flatten(1),
        )  # fmt: skip
        self.last = nn.LazyLinear(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(x))


class Volumes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(1, 2, 2), nn.ReLU(), nn.Flatten(2), nn.ConvTranspose1d(2, 2, 2), nn.Flatten(1)
        )
        self.last = nn.LazyLinear(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(x))


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6)), nn.Linear(6, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        h = checkpoint(self.inner, x, use_reentrant=False)
        return self.last(h)


class Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return -0.5 * gradient


class Reversed(nn.Module):
    """Goes through a function with a backward pass of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.last = nn.Linear(6, 6), nn.Linear(6, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(Reversal.apply(torch.tanh(self.one(x))))


class Doubled(nn.Module):
    """A gradient is part of what is returned: the graph holds a backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.last = nn.Linear(6, 6), nn.Linear(6, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return self.last(torch.tanh(self.one(x)))
        x = x.detach().requires_grad_()
        h = torch.tanh(self.one(x))
        (slope,) = torch.autograd.grad(h.square().sum(), x, create_graph=True)
        return self.last(h + slope)


class Hooked(nn.Module):
    """Hooks that change a gradient on its way: of a tensor, and of a module."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, WIDTH)
        self.two.register_full_backward_hook(lambda module, into, out: (0.5 * into[0],))

    def forward(self, x: Tensor) -> Tensor:
        h = self.one(x)
        if h.requires_grad:
            h.register_hook(lambda gradient: 3 * gradient)
        return self.last(torch.tanh(self.two(torch.tanh(h))))


def _functional(dtype: torch.dtype) -> Awkward:
    """The trunk is run with other tensors, made of its own parameters."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, WIDTH)).to(dtype)
    x = _batch(4, 6, dtype=dtype)
    return Awkward(trunk, lambda: functional_call(trunk, {name: 2 * p for name, p in trunk.named_parameters()}, (x,)))


def _evaluated_between(dtype: torch.dtype) -> Awkward:
    """Forward passes for evaluation come before and after the one that counts."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, WIDTH)).to(dtype)
    x = _batch(4, 6, dtype=dtype)

    def forward() -> Tensor:
        with torch.no_grad():
            trunk(2 * x)
        z = trunk(x)
        trunk(3 * x)
        return z

    return Awkward(trunk, forward)


def _normalised(training: bool) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        trunk = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, WIDTH))
        trunk[1].weight.data.uniform_(0.5, 2)
        return trunk.train(training)

    return make


MODELS: dict[str, Callable[[torch.dtype], Awkward]] = {
    "plain": _made(lambda: nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, WIDTH)), 4, 6),
    "no bias": _made(lambda: nn.Sequential(nn.Linear(6, 7, bias=False), nn.GELU(), nn.Linear(7, WIDTH, False)), 4, 6),
    "sequences": _made(lambda: nn.Sequential(nn.Linear(6, 7), nn.SiLU(), nn.Linear(7, WIDTH, False)), 3, 4, 6),
    "one sample": _made(lambda: nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, WIDTH)), 1, 6),
    "no batch": _made(lambda: nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, WIDTH)), 6),
    "in place": _made(lambda: nn.Sequential(nn.Linear(6, 7), nn.ReLU(inplace=True), nn.Linear(7, WIDTH)), 4, 6),
    "tied and called twice": _made(Tied, 4, 6),
    "weight both ways": _made(BothWays, 4, 5),
    "branches and an idle layer": _made(Branches, 4, 6),
    "lists": _made(OfLists, 4, 6),
    "frozen": _made(Frozen, 4, 6),
    "functional weight": _made(ByHand, 4, 6),
    "modern": _made(Modern, 3, 4, 6),
    "words": _made(Words, 1, 1),
    "words, tied": _made(lambda: Words(tied=True), 1, 1),
    "transformer": _made(Transformer, 3, 4, 6),
    "convolutions": _made(Seen, 3, 2, 7, 7),
    "volumes": _made(Volumes, 3, 1, 3, 3, 3),
    "checkpoint": _made(Checkpointed, 4, 6),
    "weight norm": _made(lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(6, WIDTH)), nn.Tanh()), 4, 6),
    "slopes": _made(lambda: nn.Sequential(nn.Linear(6, 6), nn.PReLU(), nn.Linear(6, WIDTH)), 4, 6),
    "reversed gradient": _made(Reversed, 4, 6),
    "gradient of a gradient": _made(Doubled, 4, 6),
    "hooks": _made(Hooked, 4, 6),
    "batch norm": _made(_normalised(True), 4, 6),
    "batch norm, running": _made(_normalised(False), 4, 6),
    "functional call": _functional,
    "evaluated between": _evaluated_between,
}
"""What makes a model awkward, to the model."""
