"""Whole steps on trunks of several kinds: what the Balancer makes of them, one pass a task, torchjd, one plain sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mtlgrad
from mtlgrad.engines.per_task import PerTask


@dataclass(frozen=True)
class Case:
    """A trunk, and a forward pass that leads to the losses."""

    name: str
    m: int
    trunk: nn.Module
    heads: nn.ModuleList
    features: Callable[[], Tensor]
    losses: Callable[[Tensor], list[Tensor]]
    """From the features to m losses []; with `apart` one vector [m] of them."""
    apart: bool = False
    """One loss a sample: torchjd's autogram is made for this."""

    @property
    def parameters(self) -> list[Tensor]:
        return [*self.trunk.parameters(), *self.heads.parameters()]


def _headed(name: str, m: int, trunk: nn.Module, x: Tensor, width: int) -> Case:
    heads = nn.ModuleList([nn.Linear(width, 1) for _ in range(m)])

    def losses(z: Tensor) -> list[Tensor]:
        return [(head(z) - i).square().mean() for i, head in enumerate(heads)]

    return Case(name, m, trunk, heads, lambda: trunk(x), losses)


def linear(width: int, depth: int, batch: int, m: int) -> Case:
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.ReLU())]
    return _headed(
        f"{depth} linear layers of {width}, batch {batch}", m, nn.Sequential(*layers), torch.randn(batch, width), width
    )


def one_loss_a_sample() -> Case:
    trunk = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    x, labels = torch.randn(64, 256), torch.randint(10, (64,))

    def losses(z: Tensor) -> list[Tensor]:
        return [F.cross_entropy(z, labels, reduction="none")]

    return Case("one loss a sample, 256-512-512-10", 64, trunk, nn.ModuleList(), lambda: trunk(x), losses, apart=True)


def lenet(m: int) -> Case:
    trunk = nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 500), nn.ReLU(),
    )  # fmt: skip
    return _headed("LeNet, batch 128", m, trunk, torch.randn(128, 1, 28, 28), 500)


def transformer(width: int, m: int) -> Case:
    layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
    trunk = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return _headed(f"transformer, 2 layers of {width}, 16 x 32 tokens", m, trunk, torch.randn(16, 32, width), width)


CASES: tuple[Callable[[], Case], ...] = (
    lambda: linear(1024, 4, 64, 2),
    lambda: linear(1024, 4, 64, 8),
    lambda: linear(2048, 3, 32, 8),
    one_loss_a_sample,
    lambda: lenet(2),
    lambda: transformer(128, 2),
    lambda: transformer(512, 2),
)


def contenders(make: Callable[[], Case]) -> tuple[Case, Callable[[], object], dict[str, Callable[[], object]]]:
    """The case, what to do before each turn, and name to one step's way from the losses to `.grad`."""
    from torchjd.aggregation import MeanWeighting, UPGrad
    from torchjd.autogram import Engine
    from torchjd.autojac import jac_to_grad, mtl_backward

    case, theirs = make(), make()  # autogram hooks into the modules, which would be in everybody's way
    # The QP of 64 tasks would take longer than the passes; weights that cost next to nothing leave the passes to see.
    method = mtlgrad.PCGrad() if case.apart else mtlgrad.UPGrad()
    ours, plain = mtlgrad.Balancer(method, case.trunk), mtlgrad.Balancer(method, case.trunk)
    plain._engines = [PerTask()]  # the engine that every Balancer had before there were others
    engine, weighting = Engine(theirs.trunk, batch_dim=0) if case.apart else None, MeanWeighting()
    held: dict[str, list[Tensor]] = {}

    def before() -> None:
        for p in (*case.parameters, *theirs.parameters):
            p.grad = None
        held["losses"] = case.losses(case.features())
        if "their losses" not in held:  # autogram wants a backward pass after each forward pass
            held["features"] = [theirs.features()]
            held["their losses"] = theirs.losses(held["features"][0])

    def named() -> dict[str, Tensor]:
        losses = held["losses"][0] if case.apart else held["losses"]
        return {str(i): loss for i, loss in enumerate(losses)}

    def with_torchjd() -> None:
        losses = held.pop("their losses")
        if engine is not None:
            losses[0].backward(weighting(engine.compute_gramian(losses[0])))
        else:
            mtl_backward(losses, features=held["features"])
            jac_to_grad(list(theirs.trunk.parameters()), UPGrad())

    return (
        case,
        before,
        {
            "plain sum": lambda: torch.stack(held["losses"]).sum().backward(),
            "one pass a task": lambda: plain.backward(named()),
            "torchjd": with_torchjd,
            "Balancer": lambda: ours.backward(named()),
        },
    )
