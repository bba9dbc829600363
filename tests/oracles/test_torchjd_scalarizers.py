"""Scalarizers against torchjd, over whole runs where they carry state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchjd.scalarization as torchjd
from torch import Tensor

from mtlgrad import COSMOS, DWA, FAMO, GLS, IMTLL, PBI, STCH, UW, Scalarizer


def history(m: int, steps: int = 12) -> Tensor:
    return torch.rand(steps, m, generator=torch.Generator().manual_seed(m)) + 0.1


def their_weights(scalarizer: torch.nn.Module, losses: Tensor) -> Tensor:
    leaf = losses.clone().requires_grad_()
    (weights,) = torch.autograd.grad(scalarizer(leaf), leaf)
    return weights


STATELESS: list[tuple[Scalarizer, Callable[[], torch.nn.Module]]] = [
    (GLS(), torchjd.GeometricMean),
    (STCH(mu=0.1), lambda: torchjd.STCH(mu=0.1)),
]


@pytest.mark.parametrize("m", [2, 5, 16])
@pytest.mark.parametrize(("ours", "theirs"), STATELESS, ids=lambda v: getattr(v, "name", ""))
def test_stateless(ours: Scalarizer, theirs: Callable[[], torch.nn.Module], m: int) -> None:
    for losses in history(m):
        torch.testing.assert_close(ours.loss_weights(losses), their_weights(theirs(), losses), rtol=1e-5, atol=0)


@pytest.mark.parametrize("m", [2, 5, 16])
def test_famo_with_the_next_losses_as_its_update(m: int) -> None:
    ours, theirs = FAMO(), torchjd.FAMO(m)
    state = ours.init(m)
    for step, losses in enumerate(history(m)):
        if step:
            theirs.update(losses)
        weights, state = ours.step(losses, state)
        torch.testing.assert_close(weights, their_weights(theirs, losses), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("m", [2, 5, 16])
def test_dwa_epoch_by_epoch(m: int) -> None:
    ours, theirs = DWA(window=3), torchjd.DWA()
    state = ours.init(m)
    for step, losses in enumerate(history(m)):
        if step and step % 3 == 0:
            theirs.step()
        weights, state = ours.step(losses, state)
        torch.testing.assert_close(weights, their_weights(theirs, losses), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("ours", "kind"), [(UW(lr=0.1), torchjd.UW), (IMTLL(lr=0.1), torchjd.IMTLL)], ids=["UW", "IMTLL"]
)
def test_learned_weights_with_sgd(ours: Scalarizer, kind: Callable[[int], torch.nn.Module]) -> None:
    theirs = kind(4)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    state = ours.init(4)
    for losses in history(4):
        weights, state = ours.step(losses, state)
        torch.testing.assert_close(weights, their_weights(theirs, losses), rtol=1e-5, atol=0)
        optimizer.zero_grad()
        theirs(losses).backward()
        optimizer.step()


@pytest.mark.parametrize("m", [2, 5, 16])
def test_scalarizers_with_a_preference(m: int) -> None:
    preference = torch.rand(m, generator=torch.Generator().manual_seed(7)) + 0.1
    named = tuple(preference.tolist())
    for losses in history(m):
        for ours, theirs in (
            (PBI(preference=named, theta=2.0, ideal=0.05), torchjd.PBI(2.0, preference, torch.full((m,), 0.05))),
            (COSMOS(preference=named, lam=3.0), torchjd.COSMOS(3.0, preference)),
            (STCH(preference=named, mu=0.2), torchjd.STCH(0.2, preference)),
        ):
            torch.testing.assert_close(ours.loss_weights(losses), their_weights(theirs, losses), rtol=1e-4, atol=1e-5)
