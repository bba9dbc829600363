"""Around every engine: hooks wait until `.grad` holds the update, and a set-up that can only be wrong is told."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mtlgrad.aggregators.base import GradientAggregator
from mtlgrad.engines.base import Call, Engine, Outcome
from mtlgrad.engines.reach import reach
from mtlgrad.scalarizers.base import Scalarizer

Result = TypeVar("Result")


class Attendant:
    """Serves the calls of one Balancer; remembers what its losses have led to."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._of_modules = {id(p) for module in modules for p in module.parameters()}
        self._leaves: dict[int, weakref.ref[Tensor]] = {}
        self._seen: set[int] = set()  # tasks that have been present
        self._users: set[int] = set()  # those of them whose first loss led to a trainable shared parameter
        self._reached: set[int] = set()
        self._collected: set[int] = set()  # what earlier micro-batches of this window have changed
        self._looked_at: set[int] = set()

    def run(self, call: Call, engine: Engine) -> Outcome:
        """The engine's outcome, once every hook was called.

        Raises
        ------
        ValueError
            Where no loss reached a trainable shared parameter though one should have, or one that was reached before
            was replaced.
        """
        outcome, changed, hooks = self._served(call, lambda: engine.run(call))
        self._check_reached(call, {id(p) for p in changed} | self._collected)
        _fire(changed, hooks)
        return outcome

    def collect(self, call: Call, engine: Engine) -> Any:
        """What the engine keeps of a micro-batch; hooks of parameters whose `.grad` it changed are called."""
        held, changed, hooks = self._served(call, lambda: engine.collect(call))
        self._collected |= {id(p) for p in changed}
        _fire(changed, hooks)
        return held

    def _served(self, call: Call, serve: Callable[[], Result]) -> tuple[Result, list[Tensor], dict[int, list[Any]]]:
        """What `serve` gives, the parameters whose `.grad` it changed, and the hooks that have not been called yet."""
        _check_reentrant(call)
        if call.window is None:
            self._collected.clear()
        waiting = [*call.trainable, *_private_with_hooks(call)]
        before = [_mark(p) for p in waiting]
        with _hooks_held(waiting) as hooks:
            result = serve()
        self._meet(call)
        return result, [p for p, mark in zip(waiting, before, strict=True) if not _unchanged(p, mark)], hooks

    def _meet(self, call: Call) -> None:
        """Look at what the losses of tasks that are present for the first time lead to."""
        for position, loss in zip(call.positions, call.losses, strict=True):
            if position not in self._seen:
                found = reach([loss])
                self._leaves |= {key: weakref.ref(leaf) for key, leaf in found.leaves.items()}
                if found.reaches(call.trainable):
                    self._users.add(position)
        self._seen.update(call.present)

    def _check_reached(self, call: Call, changed: set[int]) -> None:
        unreached = [k for k, p in enumerate(call.shared) if p.requires_grad and id(p) not in changed]
        missing = {id(call.shared[k]) for k in unreached}
        if call.trainable and len(unreached) == len(call.trainable):
            # Else other tasks than the present ones are, or may be, what the shared parameters are for.
            lost = not self._users.isdisjoint(call.present)
            if lost or (len(self._seen) == call.tasks and not self._reached):
                raise ValueError(_nothing_reached(call))
        new = missing - self._looked_at
        if new:
            self._looked_at |= missing
            self._check_replaced(call, [k for k in unreached if id(call.shared[k]) in new])
        self._reached.update(id(p) for p in call.trainable if id(p) in changed)
        self._looked_at -= changed

    def _check_replaced(self, call: Call, unreached: list[int]) -> None:
        """Raise where one of the `unreached` shared parameters is known to be the model's no more."""
        current = {id(p) for module in call.modules for p in module.parameters()}
        found = reach(call.losses)
        known = {key for key, one in self._leaves.items() if one() is not None} | {id(p) for p in call.shared}
        new = [leaf for key, leaf in found.leaves.items() if key not in known and isinstance(leaf, nn.Parameter)]
        shapes = {leaf.shape for leaf in new}
        for k in unreached:
            p = call.shared[k]
            if id(p) in self._of_modules and id(p) not in current:
                raise ValueError(f"shared: the module's parameter that was shared[{k}] has been replaced; {_REMEDY}")
            if id(p) in self._reached and p.shape in shapes:
                raise ValueError(
                    f"shared[{k}] of shape {list(p.shape)} was reached by the losses before and is no more, while they "
                    f"reach a new tensor of that shape: it has been replaced; {_REMEDY}"
                )
        self._leaves |= {key: weakref.ref(leaf) for key, leaf in found.leaves.items() if key not in known}


_REMEDY = (
    "this happens by load_state_dict(assign=True), by a parametrization such as weight_norm, or where the Balancer was "
    "copied without the model. Build the Balancer (and the optimizer) after that, or copy both together"
)


def _private_with_hooks(call: Call) -> list[Tensor]:
    """The private parameters that the losses lead to, or that are allowed to be led to, as far as they have hooks.

    They are looked for at every step, for a head may be new; but not while nobody in this process has made a hook.
    """
    if not getattr(RemovableHandle, "next_id", 1):
        return []
    shared = {id(p) for p in call.trainable}
    leaves = reach(call.losses).leaves.values() if call.private is None else call.private
    return [p for p in leaves if id(p) not in shared and p._post_accumulate_grad_hooks]


def _check_reentrant(call: Call) -> None:
    """Raise where a reentrant checkpoint would silently yield no gradients: in any pass but one into everything."""
    partial = (
        "private="
        if call.private is not None
        else "apply='loss'"
        if call.apply == "loss" and isinstance(call.method, GradientAggregator)
        else "diagnose_every="
        if call.diagnose and isinstance(call.method, Scalarizer)
        else None
    )
    if partial is not None and reach(call.losses).reentrant:
        raise ValueError(
            f"the losses go through a reentrant checkpoint, which PyTorch runs only in a backward pass into all "
            f"parameters, and {partial} needs passes into some: pass use_reentrant=False to torch.utils.checkpoint"
        )


def _nothing_reached(call: Call) -> str:
    found = reach(call.losses)
    shapes = {leaf.shape for leaf in found.leaves.values()}
    told = "no loss reaches any of the trainable shared parameters, and so they would get no gradient: "
    if not found.opaque and any(id(p) in found.leaves for p in call.trainable):
        return told + "a custom autograd function or a hook on the way returns no gradient"
    if any(p.shape in shapes for p in call.trainable):
        return (
            told + "the losses reach other tensors of the same shapes, so that the model's parameters are not those "
            f"the Balancer was given; {_REMEDY}. With torch.func.functional_call, give the Balancer the tensors that "
            "are called with"
        )
    return (
        told + "were the representations detached or computed under torch.no_grad(), or are these another model's "
        "parameters? Of a trunk that is meant to stay as it is, set requires_grad_(False); a batch that is meant to "
        "pass it by needs no Balancer, but a backward() of its summed losses"
    )


def _mark(p: Tensor) -> tuple[Tensor | None, int]:
    return p.grad, -1 if p.grad is None else _version(p.grad)


def _unchanged(p: Tensor, mark: tuple[Tensor | None, int]) -> bool:
    old, version = mark
    return p.grad is old and (old is None or _version(old) == version)


def _version(gradient: Tensor) -> int:
    """How often it was written to; a sharded one also by way of what this rank has of it."""
    return int(gradient._version + getattr(gradient, "_local_tensor", gradient)._version)


@contextmanager
def _hooks_held(parameters: Sequence[Tensor]) -> Iterator[dict[int, list[Any]]]:
    """Keep the post-accumulate hooks of `parameters` from seeing single tasks' gradients; yields them by id."""
    kept = [
        (p._post_accumulate_grad_hooks, dict(p._post_accumulate_grad_hooks), id(p))
        for p in parameters
        if p._post_accumulate_grad_hooks
    ]
    for hooks, _, _ in kept:
        hooks.clear()
    try:
        yield {key: list(inside.values()) for _, inside, key in kept}
    finally:
        for hooks, inside, _ in kept:
            hooks.update(inside)


def _fire(parameters: Sequence[Tensor], hooks: dict[int, list[Any]]) -> None:
    with torch.no_grad():
        for p in parameters:
            for hook in hooks.get(id(p), ()):
                hook(p)
