"""The public conformance suite: does a method keep the promises that its traits make?

Yours too: ``check_method(MyMethod())`` runs every check that applies and raises AssertionError at the first broken
promise; ``checks_for(method)`` yields them one by one, for ``pytest.mark.parametrize``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mtlgrad.aggregators import GramAggregator, HarmonizingAggregator, JacobianAggregator
from mtlgrad.method import Method
from mtlgrad.scalarizers import Scalarizer

SLACK = 1e-9
"""Relative slack of a float64 promise."""


@dataclass(frozen=True)
class Check:
    """One promise, bound to one method; call it to verify."""

    name: str
    method: Method
    verify: Callable[[Method], None]
    trait: str | None = None
    """The declared trait that the promise follows from; None: every method of this kind makes it."""

    def __call__(self) -> None:
        """Raise AssertionError, naming the promise and how to declare the truth, where the method breaks it."""
        try:
            self.verify(self.method)
        except AssertionError as error:
            raise AssertionError(
                f"{self.method.name} breaks a promise, {self.name!r}: {error}{self._way_out()}"
            ) from error

    def _way_out(self) -> str:
        if self.trait is None:
            return ""
        declared = getattr(self.method.traits, self.trait)
        if not isinstance(declared, bool):
            return f"\nIts traits declare {self.trait}={declared}: declare what is true, or mend the method."
        truth = f"Traits({self.trait}={not declared})"
        return f"\nIts traits declare {self.trait}={declared}: declare {truth} if it is meant so, or mend the method."

    def __str__(self) -> str:
        return f"{self.method.name}-{self.name}"


def check_method(method: Method) -> None:
    """Run every check that applies to `method`.

    >>> import mtlgrad
    >>> check_method(mtlgrad.GH())
    """
    for check in checks_for(method):
        check()


def checks_for(method: Method) -> list[Check]:
    """The checks that apply to `method`, by its kind and its traits."""
    traits = method.traits
    gram = isinstance(method, GramAggregator)
    applicable: dict[str, tuple[Callable[[Any], None], bool, str | None]] = {
        "is a value": (_is_a_value, True, None),
        "keeps shape, dtype and input": (_keeps_shape, True, None),
        "exact for gradients as given": (_exact_as_given, not traits.stochastic, None),
        "finite on hard input": (_finite, True, None),
        "rejects bad input": (_rejects, True, None),
        "rejects a wrong number of tasks": (
            _rejects_tasks,
            traits.min_tasks > 1 or traits.max_tasks is not None,
            "min_tasks" if traits.max_tasks is None else "max_tasks",
        ),
        "rejects what is no Gramian": (_rejects_grams, gram, None),
        "results are detached": (_detached, True, None),
        "asks for losses": (_asks_for_losses, traits.needs_losses, "needs_losses"),
        "asks for features": (_asks_for_features, traits.needs_features, "needs_features"),
        "weights give the direction": (_weights_agree, gram, None),
        "parts give the weights": (_parts_agree, isinstance(method, HarmonizingAggregator), None),
        "same generator, same answer": (_reproducible, True, None),
        "leaves the global generator alone": (_no_global_draws, True, None),
        "stochastic as declared": (_draws_as_declared, True, "stochastic"),
        "reads losses as declared": (_reads_losses_as_declared, True, "needs_losses"),
        "non-conflicting": (_non_conflicting, traits.non_conflicting, "non_conflicting"),
        "permutation equivariant": (
            _permutation,
            traits.permutation_equivariant and not traits.stochastic,
            "permutation_equivariant",
        ),
        "permutation equivariant in the mean": (
            _permutation_in_mean,
            traits.permutation_equivariant and traits.stochastic,
            "permutation_equivariant",
        ),
        "scale equivariant": (_scale_equivariant, traits.scale_equivariant, "scale_equivariant"),
        "scale invariant": (_scale_invariant, traits.scale_invariant, "scale_invariant"),
        "simplex": (_simplex, traits.simplex, "simplex"),
        "sums without conflict": (_sums, traits.sums_without_conflict, "sums_without_conflict"),
        "state in, state out": (_state_is_explicit, True, "stateful"),
        "keeps no view of its input": (_keeps_no_view, True, None),
        "no host synchronisation for a pair": (
            _no_sync,
            gram and traits.closed_form_pair and 2 in range(traits.min_tasks, (traits.max_tasks or 2) + 1),
            "closed_form_pair",
        ),
    }
    return [Check(name, method, verify, trait) for name, (verify, applies, trait) in applicable.items() if applies]


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


# ------------------------------------------------------------------------------------ helpers


def _task_numbers(method: Method) -> Iterator[int]:
    low, high = method.traits.min_tasks, method.traits.max_tasks
    yield from (m for m in (1, 2, 3, 8) if m >= low and (high is None or m <= high))
    if high is not None and high not in (1, 2, 3, 8):
        yield high


def _cases(method: Method) -> Iterator[tuple[str, Tensor]]:
    for m in _task_numbers(method):
        for family, jacobian in jacobians(m).items():
            yield f"{family}, m={m}", jacobian


def _losses(m: int) -> Tensor:
    return torch.linspace(0.5, 2.0, m, dtype=torch.float64)


def _direction(method: Any, jacobian: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    losses = _losses(len(jacobian)).to(jacobian.dtype)
    direction: Tensor = method(jacobian, losses=losses, generator=generator, **_features(method, jacobian))
    return direction


def _steps(method: Any, jacobian: Tensor, *, losses: Tensor | None = None, seed: int = 0, count: int = 3) -> Tensor:
    """Weights or directions of `count` steps, stacked, with losses that fall, some faster than others."""
    generator = torch.Generator().manual_seed(seed)
    losses = _losses(len(jacobian)) if losses is None else losses
    inputs, state = _step_inputs(method, jacobian)
    found = []
    for k in range(count):
        now = losses ** (1 / (1 + k))
        if isinstance(method, Scalarizer):
            result, state = method.step(now, state, generator=generator)
        else:
            more = {"losses": now, **_features(method, jacobian)}
            result, state = method.step(inputs, state, generator=generator, **more)
        found.append(result)
    return torch.stack(found)


def _features(method: Method, jacobian: Tensor) -> dict[str, Tensor]:
    """A representation of two samples, of both signs, as an argument for the methods that read one."""
    if not method.traits.needs_features:
        return {}
    n = jacobian.shape[1]
    return {"features": torch.arange(n, dtype=torch.float64).cos().to(jacobian).view(2, n // 2)}


def _weights(method: Method, jacobian: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    losses = _losses(len(jacobian))
    if isinstance(method, Scalarizer):
        return method.loss_weights(losses, generator=generator)
    assert isinstance(method, GramAggregator)
    return method.weights(jacobian @ jacobian.T, losses=losses, generator=generator)


def _same(got: Tensor, wanted: Tensor, what: str, *, slack: float = SLACK, scale: Tensor | None = None) -> None:
    """`got` equals `wanted` up to `slack` relative to the larger of them and `scale`."""
    size = torch.stack([wanted.norm(), got.norm(), torch.zeros_like(wanted.norm()) if scale is None else scale]).max()
    assert bool((got - wanted).norm() <= slack * size), f"{what}: got {got}, wanted {wanted}"


def _must_raise(errors: tuple[type[Exception], ...], words: str, call: Callable[[], Any]) -> None:
    message = None
    try:
        call()
    except errors as error:
        message = str(error)
    assert message is not None, f"no error where {' or '.join(e.__name__ for e in errors)} about {words!r} is due"
    assert words in message, f"the message should mention {words!r}: {message}"


# ------------------------------------------------------------------------------------- checks


def _is_a_value(method: Method) -> None:
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


def _keeps_shape(method: Method) -> None:
    for m in _task_numbers(method):
        base = jacobians(m)["plain"]
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
            jacobian = base.to(dtype)
            before = jacobian.clone()
            direction = _direction(method, jacobian)
            assert direction.shape == (base.shape[1],), f"direction has shape {list(direction.shape)} for n=24"
            assert direction.dtype == dtype, f"direction is {direction.dtype} for a Jacobian of {dtype}"
            assert direction.isfinite().all(), f"{dtype}, m={m}: {direction}"
            assert torch.equal(jacobian, before), "the Jacobian was modified"


def _exact_as_given(method: Method) -> None:
    """The direction for low-precision J is that for the same numbers in float64, up to rounding of what is combined."""
    for case, base in _cases(method):
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            jacobian = base.to(dtype)
            wide = jacobian.double()
            if not wide.isfinite().all():
                continue
            if isinstance(method, GramAggregator):
                scale = _weights(method, wide).abs() @ wide.norm(dim=1)
            elif "near opposite" in case:
                continue  # without weights nobody knows what cancelled
            else:
                scale = None
            slack = 8 * torch.finfo(dtype).eps * len(base)
            got, wanted = _direction(method, jacobian).double(), _direction(method, wide)
            _same(got, wanted, f"{case}, {dtype}", slack=slack, scale=scale)


def _finite(method: Method) -> None:
    for case, jacobian in _cases(method):
        assert _direction(method, jacobian).isfinite().all(), case
        single = jacobian.float()
        assert _direction(method, single).isfinite().all(), f"{case}, float32"


def _rejects(method: Any) -> None:
    m = max(2, method.traits.min_tasks)
    wrong = ((ValueError, TypeError), "jacobian")
    _must_raise(*wrong, lambda: method(torch.ones(3)))
    _must_raise(*wrong, lambda: method(torch.ones(m, 3, 2)))
    _must_raise(*wrong, lambda: method(torch.ones(0, 3)))
    _must_raise(*wrong, lambda: method(torch.ones(m, 3, dtype=torch.int64)))
    _must_raise(*wrong, lambda: method([[1.0, 2.0]]))
    good = jacobians(m)["plain"]
    _must_raise((ValueError,), "losses", lambda: method(good, losses=torch.ones(m + 1)))
    _must_raise((TypeError,), "losses", lambda: method(good, losses=[1.0] * m))
    more = _features(method, good)
    _must_raise((TypeError,), "generator", lambda: method(good, losses=_losses(m), generator=0, **more))
    if isinstance(method, GramAggregator):
        _must_raise((ValueError,), "gram", lambda: method.weights(torch.ones(m, m + 1), losses=_losses(m)))
        _must_raise((TypeError,), "gram", lambda: method.weights([[1.0]], losses=_losses(m)))  # type: ignore[arg-type]
        for bad in (torch.nan, torch.inf):
            here = jacobians(m)["plain"].index_fill(1, torch.tensor([3]), bad)
            _must_raise((ValueError,), "jacobian must be finite", lambda here=here: _direction(method, here))  # type: ignore[misc]
            gram = torch.full((m, m), bad)
            _must_raise((ValueError,), "gram must be finite", lambda gram=gram: method.fell_back(gram))  # type: ignore[misc]


def _rejects_tasks(method: Method) -> None:
    low, high = method.traits.min_tasks, method.traits.max_tasks
    for m in [low - 1] * (low > 1) + ([] if high is None else [high + 1]):
        _must_raise((ValueError,), f"m={m}", lambda m=m: _direction(method, jacobians(m)["plain"]))  # type: ignore[misc]


def _rejects_grams(method: Method) -> None:
    assert isinstance(method, GramAggregator)
    for m in _task_numbers(method):
        if m == 1:
            continue
        good = jacobians(m)["plain"] @ jacobians(m)["plain"].T
        lopsided, indefinite = good.clone(), good.clone()
        lopsided[0, 1] += 0.1 * (good[0, 0] * good[1, 1]).sqrt()
        indefinite[0, 1] = indefinite[1, 0] = 1.5 * (good[0, 0] * good[1, 1]).sqrt()
        for bad, word in ((lopsided, "symmetric"), (indefinite, "semi-definite")):
            for dtype in (torch.float64, torch.float32, torch.bfloat16):
                given, losses = bad.to(dtype), _losses(m)
                _must_raise((ValueError,), word, partial(method.weights, given, losses=losses))
                _must_raise((ValueError,), word, partial(method.step, given, method.init(m), losses=losses))
                _must_raise((ValueError,), word, partial(method.fell_back, given))
                if isinstance(method, HarmonizingAggregator):
                    _must_raise((ValueError,), word, partial(method.parts, given))
        rounded = (good + 1e-9 * good.diagonal().sqrt().outer(good.diagonal().sqrt()) * torch.eye(m).roll(1)).float()
        assert method.weights(rounded, losses=_losses(m)).isfinite().all(), "rounding of a Gramian is no error"


def _detached(method: Any) -> None:
    """A decision is a constant of its step, whatever graph hangs on what it was made from."""
    m = max(2, method.traits.min_tasks)
    jacobian, losses = jacobians(m)["plain"].requires_grad_(), _losses(m).requires_grad_()
    found: dict[str, Tensor] = {"the direction": _direction(method, jacobian)}
    inputs, state = _step_inputs(method, jacobian)
    more = {} if isinstance(method, Scalarizer) else {"losses": losses, **_features(method, jacobian)}
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


def _asks_for_losses(method: Any) -> None:
    m = max(2, method.traits.min_tasks)
    _must_raise((ValueError,), "losses", lambda: method(jacobians(m)["plain"]))


def _asks_for_features(method: Any) -> None:
    m = max(2, method.traits.min_tasks)
    jacobian = jacobians(m)["plain"]
    _must_raise((ValueError,), "features", lambda: method(jacobian, losses=_losses(m)))
    _must_raise((ValueError,), "features", lambda: method(jacobian, losses=_losses(m), features=torch.ones(5)))
    _must_raise((TypeError,), "features", lambda: method(jacobian, losses=_losses(m), features=[1.0]))


def _weights_agree(method: Method) -> None:
    for case, jacobian in _cases(method):
        weights = _weights(method, jacobian)
        assert weights.isfinite().all(), f"{case}: weights {weights}"
        scale = weights.abs().max() * jacobian.norm()
        _same(weights @ jacobian, _direction(method, jacobian), case, scale=scale)


def _parts_agree(method: Method) -> None:
    assert isinstance(method, HarmonizingAggregator)
    for case, jacobian in _cases(method):
        parts = method.parts(jacobian @ jacobian.T, generator=torch.Generator().manual_seed(0))
        _same(parts.sum(0), _weights(method, jacobian), case)


def _reproducible(method: Method) -> None:
    for case, jacobian in _cases(method):
        assert torch.equal(_direction(method, jacobian), _direction(method, jacobian)), case


def _no_global_draws(method: Method) -> None:
    for _, jacobian in _cases(method):
        before = torch.get_rng_state()
        _direction(method, jacobian)
        assert torch.equal(torch.get_rng_state(), before), "torch's default generator was drawn from"


def _draws_as_declared(method: Method) -> None:
    cases = [jacobian for _, jacobian in _cases(method)]
    others, count = (range(1, 40), 12) if method.traits.stochastic else (range(1, 2), 3)  # some draw rare events
    drawn = (
        (_steps(method, J, seed=0, count=count), _steps(method, J, seed=k, count=count)) for k in others for J in cases
    )
    differ = any(not torch.equal(first, second) for first, second in drawn)
    assert differ == method.traits.stochastic, (
        f"stochastic is {method.traits.stochastic}, and two seeds gave {'two answers' if differ else 'one answer'}"
    )


def _reads_losses_as_declared(method: Method) -> None:
    needed = method.traits.needs_losses
    count = 25 if needed else 3  # a method may look at losses rarely

    def differ(jacobian: Tensor) -> bool:
        losses = _losses(len(jacobian))
        first, second = (_steps(method, jacobian, losses=one, count=count) for one in (losses, 3 * losses.flip(0) + 1))
        return not torch.equal(first, second)

    found = any(differ(jacobian) for _, jacobian in _cases(method))
    assert found == needed, (
        f"needs_losses is {needed}, and other losses gave {'another' if found else 'the same'} answer"
    )


def _non_conflicting(method: Method) -> None:
    for case, jacobian in _cases(method):
        direction = _direction(method, jacobian)
        norms = jacobian.norm(dim=1)
        # A direction that is the rounding left over from larger vectors that cancel has no sign to keep.
        weights = _weights(method, jacobian).abs() if isinstance(method, GramAggregator) else torch.ones_like(norms)
        rounding = 16 * torch.finfo(torch.float64).eps * (weights @ norms)
        bound = norms * (SLACK * direction.norm() + rounding)
        assert bool((jacobian @ direction >= -bound).all()), f"{case}: J d = {jacobian @ direction}"


def _renamed(m: int) -> Tensor:
    return torch.arange(m).roll(1)


def _permutation(method: Method) -> None:
    for m in _task_numbers(method):
        order = _renamed(m)
        for family in ("plain", "agreeing", "imbalanced"):
            jacobian = jacobians(m)[family]
            losses = _losses(m)
            more = _features(method, jacobian)
            here = method(jacobian, losses=losses, **more)  # type: ignore[operator]
            there = method(jacobian[order], losses=losses[order], **more)  # type: ignore[operator]
            _same(there, here, f"{family}, m={m}", slack=1e-7)


def _permutation_in_mean(method: Method) -> None:
    draws = 400
    for m in _task_numbers(method):
        jacobian = jacobians(m, 6)["plain"]
        here = torch.stack([_direction(method, jacobian, seed) for seed in range(draws)])
        there = torch.stack([_direction(method, jacobian[_renamed(m)], draws + seed) for seed in range(draws)])
        # Six standard errors of the difference: a false alarm in 10^8, for independent draws.
        error = ((here.var(0) + there.var(0)) / draws).sqrt() * 6 + SLACK * jacobian.norm()
        assert bool(((here.mean(0) - there.mean(0)).abs() <= error).all()), f"m={m}"


def _scaled(method: Method) -> Iterator[tuple[str, Tensor, Tensor, float]]:
    for m in _task_numbers(method):
        for family in ("plain", "imbalanced", "zero row"):
            jacobian = jacobians(m)[family]
            for factor in (2.0**-40, 1e-12, 1e12):
                yield f"{family}, m={m}, s={factor:g}", jacobian, _direction(method, factor * jacobian), factor


def _scale_equivariant(method: Method) -> None:
    for case, jacobian, scaled, factor in _scaled(method):
        _same(scaled / factor, _direction(method, jacobian), case, slack=1e-8)


def _scale_invariant(method: Method) -> None:
    for case, jacobian, scaled, _ in _scaled(method):
        _same(scaled, _direction(method, jacobian), case, slack=1e-8)


def _simplex(method: Method) -> None:
    for case, jacobian in _cases(method):
        weights = _weights(method, jacobian)
        assert bool((weights >= 0).all()), f"{case}: {weights}"
        assert abs(float(weights.sum()) - 1) <= SLACK, f"{case}: weights sum to {float(weights.sum())}"


def _sums(method: Method) -> None:
    for m in _task_numbers(method):
        jacobian = jacobians(m)["agreeing"]
        if not isinstance(method, Scalarizer | HarmonizingAggregator):
            _same(_direction(method, jacobian), jacobian.sum(0), f"m={m}")
        else:
            _same(_weights(method, jacobian), torch.ones(m, dtype=torch.float64), f"m={m}")


def _state_is_explicit(method: Any) -> None:
    m = max(2, method.traits.min_tasks)
    jacobian, losses = jacobians(m)["plain"], _losses(m)
    inputs, state = _step_inputs(method, jacobian)
    assert bool(state) == method.traits.stateful, f"stateful is {method.traits.stateful}, initial state {state}"
    before = {name: value.clone() for name, value in state.items()}
    extra = {} if isinstance(method, Scalarizer) else {"losses": losses, **_features(method, jacobian)}
    first, after = method.step(inputs, state, generator=torch.Generator().manual_seed(0), **extra)
    again, _ = method.step(inputs, state, generator=torch.Generator().manual_seed(0), **extra)
    assert torch.equal(first, again), "the same state and input gave two answers"
    assert after.keys() == state.keys(), f"state changed its keys from {set(state)} to {set(after)}"
    assert all(torch.equal(before[name], state[name]) for name in state), "the state was modified in place"


def _keeps_no_view(method: Any) -> None:
    """Whoever calls may reuse the memory of J: the Balancer does, at every step."""
    for m in _task_numbers(method):
        jacobian, losses = jacobians(m)["plain"], _losses(m)
        inputs, state = _step_inputs(method, jacobian)
        more = {} if isinstance(method, Scalarizer) else {"losses": losses, **_features(method, jacobian)}
        result, after = method.step(inputs, state, generator=torch.Generator().manual_seed(0), **more)
        before = {"the result": result.clone(), **{f"state {name!r}": value.clone() for name, value in after.items()}}
        for given in (inputs, *more.values()):
            given.fill_(7.0)
        for name, value in zip(before, (result, *after.values()), strict=True):
            assert torch.equal(before[name], value), f"{name} shares memory with an argument, m={m}: clone it"


def _step_inputs(method: Method, jacobian: Tensor) -> tuple[Tensor, dict[str, Any]]:
    m = len(jacobian)
    if isinstance(method, Scalarizer):
        return _losses(m), method.init(m)
    if isinstance(method, JacobianAggregator):
        return jacobian, method.init_like(jacobian)
    return jacobian @ jacobian.T, method.init(m)


class _NoSynchronisation(TorchDispatchMode):
    """Fails where a tensor's value is asked for by the host or a tensor changes device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__
        assert not name.startswith(("_local_scalar_dense", "nonzero", "is_nonzero", "equal.")), f"{name} waits"
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and args and isinstance(args[0], Tensor):
            assert out.device == args[0].device, f"{name} moved a tensor from {args[0].device} to {out.device}"
        return out


def _no_sync(method: Method) -> None:
    assert isinstance(method, GramAggregator)
    gram = torch.eye(2, dtype=torch.float64)
    with _NoSynchronisation():  # type: ignore[no-untyped-call]
        method.step(gram, method.init(2), losses=_losses(2))
    # Tensors on "meta" hold no values at all: whoever looks at one raises.
    there = torch.device("meta")
    weights, _ = method.step(gram.to(there), method.init(2, device=there), losses=_losses(2).to(there))
    assert weights.device == there
    if isinstance(method, HarmonizingAggregator):
        assert method.parts(gram.to(there)).device == there
