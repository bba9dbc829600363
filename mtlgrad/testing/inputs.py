"""What methods are asked about: hard Jacobians, losses, and how each kind of method is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from mtlgrad.aggregators import GramAggregator, JacobianAggregator
from mtlgrad.method import Method
from mtlgrad.scalarizers import Scalarizer

SLACK = 1e-9
"""Relative slack of a float64 promise."""


def jacobians(m: int, n: int = 24, *, seed: int = 0) -> dict[str, Tensor]:
    """Ordinary and hard Jacobians [m, n], float64, by the name of what is hard about them."""
    g = torch.Generator().manual_seed(seed)
    plain = torch.randn(m, n, dtype=torch.float64, generator=g)
    shared = torch.randn(n, dtype=torch.float64, generator=g)
    noise = torch.randn(m, n, dtype=torch.float64, generator=g)
    signs = torch.where(torch.arange(m) % 2 == 0, 1.0, -1.0).double()[:, None]
    sizes = torch.logspace(0, 6, m, dtype=torch.float64)[:, None]
    zeroed = plain.clone()
    zeroed[0] = 0
    duplicate = plain.clone()
    duplicate[-1] = plain[0]
    opposite = plain.clone()
    opposite[-1] = -plain[0]
    return {
        "plain": plain,
        "agreeing": plain.abs(),
        "imbalanced": plain * sizes,
        "near parallel": shared + 1e-4 * noise,
        "near opposite": signs * (shared + 1e-4 * noise),
        "zero row": zeroed,
        "all zero": torch.zeros_like(plain),
        "duplicate rows": duplicate,
        "opposite rows": opposite,
        "rank one": torch.randn(m, 1, dtype=torch.float64, generator=g) * shared,
        "tiny": plain * 1e-18,
        "huge": plain * 1e18,
    }


def task_numbers(method: Method) -> Iterator[int]:
    low, high = method.traits.min_tasks, method.traits.max_tasks
    yield from (m for m in (1, 2, 3, 8) if m >= low and (high is None or m <= high))
    if high is not None and high not in (1, 2, 3, 8):
        yield high


def cases_of(method: Method) -> Iterator[tuple[str, Tensor]]:
    for m in task_numbers(method):
        for family, jacobian in jacobians(m).items():
            yield f"{family}, m={m}", jacobian


def losses_for(m: int) -> Tensor:
    return torch.linspace(0.5, 2.0, m, dtype=torch.float64)


def direction_of(method: Any, jacobian: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    losses = losses_for(len(jacobian)).to(jacobian.dtype)
    direction: Tensor = method(jacobian, losses=losses, generator=generator, **features_for(method, jacobian))
    return direction


def steps_of(method: Any, jacobian: Tensor, *, losses: Tensor | None = None, seed: int = 0, count: int = 3) -> Tensor:
    """Weights or directions of `count` steps, stacked, with losses that fall, some faster than others."""
    generator = torch.Generator().manual_seed(seed)
    losses = losses_for(len(jacobian)) if losses is None else losses
    inputs, state = step_inputs(method, jacobian)
    found = []
    for k in range(count):
        now = losses ** (1 / (1 + k))
        if isinstance(method, Scalarizer):
            result, state = method.step(now, state, generator=generator)
        else:
            more = {"losses": now, **features_for(method, jacobian)}
            result, state = method.step(inputs, state, generator=generator, **more)
        found.append(result)
    return torch.stack(found)


def features_for(method: Method, jacobian: Tensor) -> dict[str, Tensor]:
    """A representation of two samples, of both signs, as an argument for the methods that read one."""
    if not method.traits.needs_features:
        return {}
    n = jacobian.shape[1]
    return {"features": torch.arange(n, dtype=torch.float64).cos().to(jacobian).view(2, n // 2)}


def weights_of(method: Method, jacobian: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    losses = losses_for(len(jacobian))
    if isinstance(method, Scalarizer):
        return method.loss_weights(losses, generator=generator)
    assert isinstance(method, GramAggregator)
    return method.weights(jacobian @ jacobian.T, losses=losses, generator=generator)


def same(got: Tensor, wanted: Tensor, what: str, *, slack: float = SLACK, scale: Tensor | None = None) -> None:
    """`got` equals `wanted` up to `slack` relative to the larger of them and `scale`."""
    size = torch.stack([wanted.norm(), got.norm(), torch.zeros_like(wanted.norm()) if scale is None else scale]).max()
    assert bool((got - wanted).norm() <= slack * size), f"{what}: got {got}, wanted {wanted}"


def must_raise(errors: tuple[type[Exception], ...], words: str, call: Callable[[], Any]) -> None:
    message = None
    try:
        call()
    except errors as error:
        message = str(error)
    assert message is not None, f"no error where {' or '.join(e.__name__ for e in errors)} about {words!r} is due"
    assert words in message, f"the message should mention {words!r}: {message}"


def step_inputs(method: Method, jacobian: Tensor) -> tuple[Tensor, dict[str, Any]]:
    m = len(jacobian)
    if isinstance(method, Scalarizer):
        return losses_for(m), method.init(m)
    if isinstance(method, JacobianAggregator):
        return jacobian, method.init_like(jacobian)
    return jacobian @ jacobian.T, method.init(m)
