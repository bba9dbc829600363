"""One decision: a method asked about one block of J, and what came of it. Pure: state in, state out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GradientAggregator, GramAggregator, JacobianAggregator
from mtlgrad.linalg import combine, gram, without_autocast
from mtlgrad.method import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided for J [m, n], and what was seen on the way; None: not measured, or not formed."""

    finite: Tensor
    """bool []: every entry of G and every loss is finite; if not, d is the plain sum and the state is the old one.

    A gradient longer than 1e154 has no finite square, and counts as one that is not finite.
    """
    direction: Tensor | None = None
    """d [n]; None where J was not formed: the weights say it all."""
    weights: Tensor | None = None
    """w [m] with d = w @ J; None for a method that has none."""
    gram: Tensor | None = None
    """G = J J^T [m, m]."""
    alignment: Tensor | None = None
    """J d [m]."""
    direction_norm: Tensor | None = None
    """|d| []."""
    state: State = field(default_factory=dict)


def decide(
    method: GradientAggregator,
    jacobian: Tensor,
    losses: Tensor,
    state: State,
    generator: torch.Generator,
    features: Tensor | None = None,
) -> Decision:
    """Ask `method` for the direction of J [m, n] with loss values [m]; at z [b, ...] where J is taken there.

    Where an entry of G or a loss is not finite the answer is the plain sum, which hands the overflow on to who looks
    for it (a `GradScaler` skips that step), and the state stays as it was.
    """
    if isinstance(method, GramAggregator):
        seen = decide_from_gram(method, gram(jacobian), losses, state, generator)
        assert seen.weights is not None
        return replace(seen, direction=combine(seen.weights, jacobian, seen.gram))
    assert isinstance(method, JacobianAggregator)
    measured = gram(jacobian)
    finite = measured.isfinite().all() & losses.isfinite().all()
    if jacobian.shape[1] == 0:  # everything is frozen: nothing to decide
        direction, new = jacobian.new_zeros(0), state
    elif bool(finite):
        direction, new = method.step(jacobian, state, losses=losses, generator=generator, features=features)
        direction, new = _own(direction, jacobian), {name: _own(value, jacobian) for name, value in new.items()}
    else:
        direction, new = combine(_ones(measured), jacobian), state
    wide = direction.to(torch.promote_types(direction.dtype, torch.float32))
    with without_autocast(jacobian):
        alignment = (jacobian.to(wide.dtype) @ wide).to(measured.dtype)
    norm = wide.norm().to(measured.dtype)
    return Decision(
        finite=finite, direction=direction, gram=measured, alignment=alignment, direction_norm=norm, state=new
    )


def decide_from_gram(
    method: GramAggregator, measured: Tensor, losses: Tensor, state: State, generator: torch.Generator
) -> Decision:
    """Ask `method` for the weights at G = `measured` [m, m] float64, wherever it comes from; no direction is formed."""
    finite = measured.isfinite().all() & losses.isfinite().all()
    ones = _ones(measured)
    if len(measured) == 2 and method.traits.closed_form_pair:
        # Nothing here may look at a value: that would make the host wait for the device.
        safe = torch.where(finite, measured, torch.eye(2, dtype=measured.dtype, device=measured.device))
        weights, new = method.step(safe, state, losses=losses, generator=generator)
        weights, new = torch.where(finite, weights, ones), select_state(finite, new, state)
    elif bool(finite):
        weights, new = method.step(measured, state, losses=losses, generator=generator)
    else:
        weights, new = ones, state
    alignment, norm = outcome(measured, weights)
    return Decision(finite=finite, weights=weights, gram=measured, alignment=alignment, direction_norm=norm, state=new)


def merge(decisions: Sequence[Decision]) -> Decision:
    """The decisions about consecutive column blocks of one J as one: weights [k, m], the rest of the whole J."""
    directions = [d.direction for d in decisions if d.direction is not None]
    weights = [d.weights for d in decisions if d.weights is not None]
    return Decision(
        finite=torch.stack([d.finite for d in decisions]).all(),
        direction=torch.cat(directions) if directions else None,
        weights=torch.stack(weights) if weights else None,
        gram=torch.stack([d.gram for d in decisions if d.gram is not None]).sum(0),
        alignment=torch.stack([d.alignment for d in decisions if d.alignment is not None]).sum(0),
        direction_norm=torch.stack([d.direction_norm for d in decisions if d.direction_norm is not None]).norm(),
    )


def plain_sum(decision: Decision, jacobian: Tensor | None, state: State) -> Decision:
    """What is decided about this block where some other block is not finite: its plain sum, and its old state."""
    assert decision.gram is not None
    ones = _ones(decision.gram)
    alignment, norm = outcome(decision.gram, ones)
    return replace(
        decision,
        direction=None if jacobian is None else combine(ones, jacobian),
        weights=None if decision.weights is None else ones,
        alignment=alignment,
        direction_norm=norm,
        state=state,
    )


def _ones(gram: Tensor) -> Tensor:
    return torch.ones(len(gram), dtype=gram.dtype, device=gram.device)


def outcome(gram: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """J d [m] and |d| [] for d = w @ J, from G [m, m] and w [m]."""
    alignment = gram @ weights
    return alignment, (weights @ alignment).clamp(min=0).sqrt()


def select_state(chosen: Tensor, new: State, old: State) -> State:
    """`new` where the bool [] is true, else `old`, without looking at it."""
    return {k: torch.where(chosen, new[k], old[k]) for k in new}


def _own(tensor: Tensor, jacobian: Tensor) -> Tensor:
    """`tensor`, cloned if it lies in the memory of J, which the next step overwrites."""
    shared = tensor.untyped_storage().data_ptr() == jacobian.untyped_storage().data_ptr()
    return tensor.clone() if shared else tensor
