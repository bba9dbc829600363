"""What a method promises by its traits."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mtlgrad.aggregators import GramAggregator, HarmonizingAggregator
from mtlgrad.method import Method
from mtlgrad.scalarizers import Scalarizer
from mtlgrad.testing.inputs import (
    SLACK,
    cases_of,
    direction_of,
    features_for,
    jacobians,
    losses_for,
    same,
    steps_of,
    task_numbers,
    weights_of,
)


def draws_as_declared(method: Method) -> None:
    cases = [jacobian for _, jacobian in cases_of(method)]
    others, count = (range(1, 40), 12) if method.traits.stochastic else (range(1, 2), 3)  # some draw rare events
    drawn = (
        (steps_of(method, J, seed=0, count=count), steps_of(method, J, seed=k, count=count))
        for k in others
        for J in cases
    )
    differ = any(not torch.equal(first, second) for first, second in drawn)
    assert differ == method.traits.stochastic, (
        f"stochastic is {method.traits.stochastic}, and two seeds gave {'two answers' if differ else 'one answer'}"
    )


def reads_losses_as_declared(method: Method) -> None:
    needed = method.traits.needs_losses
    count = 25 if needed else 3  # a method may look at losses rarely

    def differ(jacobian: Tensor) -> bool:
        losses = losses_for(len(jacobian))
        first, second = (
            steps_of(method, jacobian, losses=one, count=count) for one in (losses, 3 * losses.flip(0) + 1)
        )
        return not torch.equal(first, second)

    found = any(differ(jacobian) for _, jacobian in cases_of(method))
    assert found == needed, (
        f"needs_losses is {needed}, and other losses gave {'another' if found else 'the same'} answer"
    )


def non_conflicting(method: Method) -> None:
    for case, jacobian in cases_of(method):
        direction = direction_of(method, jacobian)
        norms = jacobian.norm(dim=1)
        # A direction that is the rounding left over from larger vectors that cancel has no sign to keep.
        weights = weights_of(method, jacobian).abs() if isinstance(method, GramAggregator) else torch.ones_like(norms)
        rounding = 16 * torch.finfo(torch.float64).eps * (weights @ norms)
        bound = norms * (SLACK * direction.norm() + rounding)
        assert bool((jacobian @ direction >= -bound).all()), f"{case}: J d = {jacobian @ direction}"


def _renamed(m: int) -> Tensor:
    return torch.arange(m).roll(1)


def permutation(method: Method) -> None:
    for m in task_numbers(method):
        order = _renamed(m)
        for family in ("plain", "agreeing", "imbalanced"):
            jacobian = jacobians(m)[family]
            losses = losses_for(m)
            more = features_for(method, jacobian)
            here = method(jacobian, losses=losses, **more)  # type: ignore[operator]
            there = method(jacobian[order], losses=losses[order], **more)  # type: ignore[operator]
            same(there, here, f"{family}, m={m}", slack=1e-7)


def permutation_in_mean(method: Method) -> None:
    draws = 400
    for m in task_numbers(method):
        jacobian = jacobians(m, 6)["plain"]
        here = torch.stack([direction_of(method, jacobian, seed) for seed in range(draws)])
        there = torch.stack([direction_of(method, jacobian[_renamed(m)], draws + seed) for seed in range(draws)])
        # Six standard errors of the difference: a false alarm in 10^8, for independent draws.
        error = ((here.var(0) + there.var(0)) / draws).sqrt() * 6 + SLACK * jacobian.norm()
        assert bool(((here.mean(0) - there.mean(0)).abs() <= error).all()), f"m={m}"


def _scaled(method: Method) -> Iterator[tuple[str, Tensor, Tensor, float]]:
    for m in task_numbers(method):
        for family in ("plain", "imbalanced", "zero row"):
            jacobian = jacobians(m)[family]
            for factor in (2.0**-40, 1e-12, 1e12):
                yield f"{family}, m={m}, s={factor:g}", jacobian, direction_of(method, factor * jacobian), factor


def scale_equivariant(method: Method) -> None:
    for case, jacobian, scaled, factor in _scaled(method):
        same(scaled / factor, direction_of(method, jacobian), case, slack=1e-8)


def scale_invariant(method: Method) -> None:
    for case, jacobian, scaled, _ in _scaled(method):
        same(scaled, direction_of(method, jacobian), case, slack=1e-8)


def simplex(method: Method) -> None:
    for case, jacobian in cases_of(method):
        weights = weights_of(method, jacobian)
        assert bool((weights >= 0).all()), f"{case}: {weights}"
        assert abs(float(weights.sum()) - 1) <= SLACK, f"{case}: weights sum to {float(weights.sum())}"


def sums(method: Method) -> None:
    for m in task_numbers(method):
        jacobian = jacobians(m)["agreeing"]
        if not isinstance(method, Scalarizer | HarmonizingAggregator):
            same(direction_of(method, jacobian), jacobian.sum(0), f"m={m}")
        else:
            same(weights_of(method, jacobian), torch.ones(m, dtype=torch.float64), f"m={m}")
