"""What every method keeps to, whatever its traits: values, shapes, errors, states, randomness."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mtlgrad.aggregators import GramAggregator, HarmonizingAggregator
from mtlgrad.method import Method
from mtlgrad.scalarizers import Scalarizer
from mtlgrad.testing.inputs import (
    cases_of,
    direction_of,
    features_for,
    jacobians,
    losses_for,
    must_raise,
    same,
    step_inputs,
    task_numbers,
    weights_of,
)


def is_a_value(method: Method) -> None:
    assert dataclasses.is_dataclass(method), "a method is a dataclass"
    fields = dataclasses.asdict(method)
    assert type(method)(**{f.name: getattr(method, f.name) for f in dataclasses.fields(method)}) == method
    assert hash(method) == hash(dataclasses.replace(method))
    json.dumps(fields)
    for name in fields:
        try:
            setattr(method, name, None)
        except dataclasses.FrozenInstanceError:
            continue
        raise AssertionError(f"field {name} can be changed: declare the dataclass frozen")


def keeps_shape(method: Method) -> None:
    for m in task_numbers(method):
        base = jacobians(m)["plain"]
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
            jacobian = base.to(dtype)
            before = jacobian.clone()
            direction = direction_of(method, jacobian)
            assert direction.shape == (base.shape[1],), f"direction has shape {list(direction.shape)} for n=24"
            assert direction.dtype == dtype, f"direction is {direction.dtype} for a Jacobian of {dtype}"
            assert direction.isfinite().all(), f"{dtype}, m={m}: {direction}"
            assert torch.equal(jacobian, before), "the Jacobian was modified"


def exact_as_given(method: Method) -> None:
    """The direction for low-precision J is that for the same numbers in float64, up to rounding of what is combined."""
    for case, base in cases_of(method):
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            jacobian = base.to(dtype)
            wide = jacobian.double()
            if not wide.isfinite().all():
                continue
            if isinstance(method, GramAggregator):
                scale = weights_of(method, wide).abs() @ wide.norm(dim=1)
            elif "near opposite" in case:
                continue  # without weights nobody knows what cancelled
            else:
                scale = None
            slack = 8 * torch.finfo(dtype).eps * len(base)
            got, wanted = direction_of(method, jacobian).double(), direction_of(method, wide)
            same(got, wanted, f"{case}, {dtype}", slack=slack, scale=scale)


def finite(method: Method) -> None:
    for case, jacobian in cases_of(method):
        assert direction_of(method, jacobian).isfinite().all(), case
        single = jacobian.float()
        assert direction_of(method, single).isfinite().all(), f"{case}, float32"


def rejects(method: Any) -> None:
    m = max(2, method.traits.min_tasks)
    wrong = ((ValueError, TypeError), "jacobian")
    must_raise(*wrong, lambda: method(torch.ones(3)))
    must_raise(*wrong, lambda: method(torch.ones(m, 3, 2)))
    must_raise(*wrong, lambda: method(torch.ones(0, 3)))
    must_raise(*wrong, lambda: method(torch.ones(m, 3, dtype=torch.int64)))
    must_raise(*wrong, lambda: method([[1.0, 2.0]]))
    good = jacobians(m)["plain"]
    must_raise((ValueError,), "losses", lambda: method(good, losses=torch.ones(m + 1)))
    must_raise((TypeError,), "losses", lambda: method(good, losses=[1.0] * m))
    more = features_for(method, good)
    must_raise((TypeError,), "generator", lambda: method(good, losses=losses_for(m), generator=0, **more))
    if isinstance(method, GramAggregator):
        must_raise((ValueError,), "gram", lambda: method.weights(torch.ones(m, m + 1), losses=losses_for(m)))
        must_raise((TypeError,), "gram", lambda: method.weights([[1.0]], losses=losses_for(m)))  # type: ignore[arg-type]
        for bad in (torch.nan, torch.inf):
            here = jacobians(m)["plain"].index_fill(1, torch.tensor([3]), bad)
            must_raise((ValueError,), "jacobian must be finite", lambda here=here: direction_of(method, here))  # type: ignore[misc]
            gram = torch.full((m, m), bad)
            must_raise((ValueError,), "gram must be finite", lambda gram=gram: method.fell_back(gram))  # type: ignore[misc]


def rejects_tasks(method: Method) -> None:
    low, high = method.traits.min_tasks, method.traits.max_tasks
    for m in [low - 1] * (low > 1) + ([] if high is None else [high + 1]):
        must_raise((ValueError,), f"m={m}", lambda m=m: direction_of(method, jacobians(m)["plain"]))  # type: ignore[misc]


def rejects_grams(method: Method) -> None:
    assert isinstance(method, GramAggregator)
    for m in task_numbers(method):
        if m == 1:
            continue
        good = jacobians(m)["plain"] @ jacobians(m)["plain"].T
        lopsided, indefinite = good.clone(), good.clone()
        lopsided[0, 1] += 0.1 * (good[0, 0] * good[1, 1]).sqrt()
        indefinite[0, 1] = indefinite[1, 0] = 1.5 * (good[0, 0] * good[1, 1]).sqrt()
        for bad, word in ((lopsided, "symmetric"), (indefinite, "semi-definite")):
            for dtype in (torch.float64, torch.float32, torch.bfloat16):
                given, losses = bad.to(dtype), losses_for(m)
                must_raise((ValueError,), word, partial(method.weights, given, losses=losses))
                must_raise((ValueError,), word, partial(method.step, given, method.init(m), losses=losses))
                must_raise((ValueError,), word, partial(method.fell_back, given))
                if isinstance(method, HarmonizingAggregator):
                    must_raise((ValueError,), word, partial(method.parts, given))
        rounded = (good + 1e-9 * good.diagonal().sqrt().outer(good.diagonal().sqrt()) * torch.eye(m).roll(1)).float()
        assert method.weights(rounded, losses=losses_for(m)).isfinite().all(), "rounding of a Gramian is no error"


def detached(method: Any) -> None:
    """A decision is a constant of its step, whatever graph hangs on what it was made from."""
    m = max(2, method.traits.min_tasks)
    jacobian, losses = jacobians(m)["plain"].requires_grad_(), losses_for(m).requires_grad_()
    found: dict[str, Tensor] = {"the direction": direction_of(method, jacobian)}
    inputs, state = step_inputs(method, jacobian)
    more = {} if isinstance(method, Scalarizer) else {"losses": losses, **features_for(method, jacobian)}
    if isinstance(method, Scalarizer):
        inputs = losses
    result, after = method.step(inputs, state, generator=torch.Generator().manual_seed(0), **more)
    found |= {"the result of step": result, **{f"state {name!r}": value for name, value in after.items()}}
    if isinstance(method, GramAggregator):
        found["the weights"] = method.weights(jacobian @ jacobian.T, losses=losses)
    if isinstance(method, HarmonizingAggregator):
        found["the parts"] = method.parts(jacobian @ jacobian.T)
    attached = [name for name, value in found.items() if isinstance(value, Tensor) and value.requires_grad]
    assert not attached, f"detach {' and '.join(attached)}"


def asks_for_losses(method: Any) -> None:
    m = max(2, method.traits.min_tasks)
    must_raise((ValueError,), "losses", lambda: method(jacobians(m)["plain"]))


def asks_for_features(method: Any) -> None:
    m = max(2, method.traits.min_tasks)
    jacobian = jacobians(m)["plain"]
    must_raise((ValueError,), "features", lambda: method(jacobian, losses=losses_for(m)))
    must_raise((ValueError,), "features", lambda: method(jacobian, losses=losses_for(m), features=torch.ones(5)))
    must_raise((TypeError,), "features", lambda: method(jacobian, losses=losses_for(m), features=[1.0]))


def weights_agree(method: Method) -> None:
    for case, jacobian in cases_of(method):
        weights = weights_of(method, jacobian)
        assert weights.isfinite().all(), f"{case}: weights {weights}"
        scale = weights.abs().max() * jacobian.norm()
        same(weights @ jacobian, direction_of(method, jacobian), case, scale=scale)


def parts_agree(method: Method) -> None:
    assert isinstance(method, HarmonizingAggregator)
    for case, jacobian in cases_of(method):
        parts = method.parts(jacobian @ jacobian.T, generator=torch.Generator().manual_seed(0))
        same(parts.sum(0), weights_of(method, jacobian), case)


def reproducible(method: Method) -> None:
    for case, jacobian in cases_of(method):
        assert torch.equal(direction_of(method, jacobian), direction_of(method, jacobian)), case


def no_global_draws(method: Method) -> None:
    for _, jacobian in cases_of(method):
        before = torch.get_rng_state()
        direction_of(method, jacobian)
        assert torch.equal(torch.get_rng_state(), before), "torch's default generator was drawn from"


def state_is_explicit(method: Any) -> None:
    m = max(2, method.traits.min_tasks)
    jacobian, losses = jacobians(m)["plain"], losses_for(m)
    inputs, state = step_inputs(method, jacobian)
    assert bool(state) == method.traits.stateful, f"stateful is {method.traits.stateful}, initial state {state}"
    before = {name: value.clone() for name, value in state.items()}
    extra = {} if isinstance(method, Scalarizer) else {"losses": losses, **features_for(method, jacobian)}
    first, after = method.step(inputs, state, generator=torch.Generator().manual_seed(0), **extra)
    again, _ = method.step(inputs, state, generator=torch.Generator().manual_seed(0), **extra)
    assert torch.equal(first, again), "the same state and input gave two answers"
    assert after.keys() == state.keys(), f"state changed its keys from {set(state)} to {set(after)}"
    assert all(torch.equal(before[name], state[name]) for name in state), "the state was modified in place"


def keeps_no_view(method: Any) -> None:
    """Whoever calls may reuse the memory of J: the Balancer does, at every step."""
    for m in task_numbers(method):
        jacobian, losses = jacobians(m)["plain"], losses_for(m)
        inputs, state = step_inputs(method, jacobian)
        more = {} if isinstance(method, Scalarizer) else {"losses": losses, **features_for(method, jacobian)}
        result, after = method.step(inputs, state, generator=torch.Generator().manual_seed(0), **more)
        before = {"the result": result.clone(), **{f"state {name!r}": value.clone() for name, value in after.items()}}
        for given in (inputs, *more.values()):
            given.fill_(7.0)
        for name, value in zip(before, (result, *after.values()), strict=True):
            assert torch.equal(before[name], value), f"{name} shares memory with an argument, m={m}: clone it"


class _NoSynchronisation(TorchDispatchMode):
    """Fails where a tensor's value is asked for by the host or a tensor changes device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__
        assert not name.startswith(("_local_scalar_dense", "nonzero", "is_nonzero", "equal.")), f"{name} waits"
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and args and isinstance(args[0], Tensor):
            assert out.device == args[0].device, f"{name} moved a tensor from {args[0].device} to {out.device}"
        return out


def no_sync(method: Method) -> None:
    assert isinstance(method, GramAggregator)
    gram = torch.eye(2, dtype=torch.float64)
    with _NoSynchronisation():  # type: ignore[no-untyped-call]
        method.step(gram, method.init(2), losses=losses_for(2))
    # Tensors on "meta" hold no values at all: whoever looks at one raises.
    there = torch.device("meta")
    weights, _ = method.step(gram.to(there), method.init(2, device=there), losses=losses_for(2).to(there))
    assert weights.device == there
    if isinstance(method, HarmonizingAggregator):
        assert method.parts(gram.to(there)).device == there
