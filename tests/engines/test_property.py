"""Every way of getting an update, crossed with what real training does to parameters, against plain autograd.

The oracle knows nothing of engines: it takes each task's gradient with `torch.autograd.grad`, asks the method about
them, and for a method with weights back-propagates the weighted sum of the losses.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import mtlgrad
from mtlgrad import (
    GH,
    MGDA,
    UW,
    ANDMask,
    Balancer,
    Ema,
    Every,
    Fixed,
    GramAggregator,
    JacobianAggregator,
    MoCo,
    PCGrad,
    Scalarizer,
    Sum,
    TrimmedMean,
)
from mtlgrad.engines import ENGINES, Engine
from mtlgrad.engines.in_blocks import InBlocks

METHODS: list[mtlgrad.Method] = [
    Sum(),
    Fixed((0.3, 2.0, 1.5)),
    UW(),
    GH(),
    MGDA(),
    PCGrad(order="fixed"),
    Every(2, MGDA()),
    Ema(GH(), beta=0.5),
    TrimmedMean(trim=0),
    ANDMask(),
    MoCo(),
]
NAMES = ("a", "b", "c")


@dataclass(frozen=True)
class Case:
    """One crossing."""

    method: mtlgrad.Method
    engine: type[Engine] | None
    apply: Any
    dtype: torch.dtype
    layout: torch.memory_format
    frozen: bool
    tied: bool
    absent: bool
    checkpointing: str
    features: bool
    hooks: bool
    scale: float | None
    accumulate: bool
    micro_batches: bool
    as_modules: bool


class Model(nn.Module):
    """A trunk of a convolution and two linear layers (or one, used twice), with three heads."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        torch.manual_seed(0)
        middle = nn.Linear(8, 8)
        last = middle if case.tied else nn.Linear(8, 8)
        self.trunk = nn.Sequential(nn.Conv2d(2, 2, 2), nn.Tanh(), nn.Flatten(), middle, nn.Tanh(), last)
        self.heads = nn.ModuleList([nn.Linear(8, 2) for _ in NAMES])
        self.to(case.dtype)
        self.trunk.to(memory_format=case.layout)  # type: ignore[call-overload]
        if case.frozen:
            self.trunk[0].bias.requires_grad_(False)
        self.case = case

    def losses(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        case = self.case
        if case.checkpointing == "no":
            z = self.trunk(x)
        else:
            z = checkpoint(self.trunk, x.clone().requires_grad_(), use_reentrant=case.checkpointing == "reentrant")
        targets = (1.0, -1.0, 0.5)
        found = {
            name: (1 + k) * (self.heads[k](z) - targets[k]).square().mean()
            for k, name in enumerate(NAMES)
            if not (case.absent and k == 1)
        }
        return z, found


def oracle(case: Case, batches: list[Tensor]) -> list[Tensor | None]:
    """What `.grad` must hold after a step on each batch."""
    model = Model(case)
    if case.checkpointing == "reentrant":
        model.case = Case(**{**case.__dict__, "checkpointing": "no"})
    present = [0, 2] if case.absent else [0, 1, 2]
    method, state = case.method.among(present), None
    shared = [p for p in model.trunk.parameters() if p.requires_grad]
    total: dict[int, Tensor] = {}

    def put(parameters: Any, gradients: Any) -> None:
        for p, g in zip(parameters, gradients, strict=True):
            if g is not None:
                total[id(p)] = total.get(id(p), torch.zeros_like(p)) + (case.scale or 1) * g

    for step, x in enumerate(batches):
        if step == 0 and case.accumulate:
            put(model.parameters(), [torch.ones_like(p) / (case.scale or 1) for p in model.parameters()])
        z, losses = model.losses(x)
        values = torch.stack([loss.detach() for loss in losses.values()])
        at = [z] if case.features and not isinstance(method, Scalarizer) else shared
        rows = [torch.autograd.grad(loss, at, retain_graph=True) for loss in losses.values()]
        J = torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])
        if state is None:
            state = method.init_like(J) if isinstance(method, JacobianAggregator) else method.init(len(present))
        direction = weights = None
        if isinstance(method, Scalarizer):
            weights, state = method.step(values, state)
        elif isinstance(method, GramAggregator):
            wide = J.double()
            weights, state = method.step(wide @ wide.T, state, losses=values)
        else:
            assert isinstance(method, JacobianAggregator)
            direction, state = method.step(J, state, losses=values)
        heads = [list(model.heads[k].parameters()) for k in present]
        whole = case.apply == "loss" or isinstance(method, Scalarizer)
        if not whole:
            for loss, own in zip(losses.values(), heads, strict=True):
                put(own, torch.autograd.grad(loss, own, retain_graph=True))
        if weights is not None:
            mixed = sum(w.to(loss) * loss for w, loss in zip(weights, losses.values(), strict=True))
            into = [*shared, *(p for own in heads for p in own)] if whole else shared
            put(into, torch.autograd.grad(mixed, into))
        elif case.features:
            assert direction is not None
            put(shared, torch.autograd.grad(z, shared, direction.view_as(z)))
        else:
            assert direction is not None
            pieces = direction.split([p.numel() for p in shared])
            put(shared, [piece.view(p.shape) for piece, p in zip(pieces, shared, strict=True)])
    return [total.get(id(p)) for p in model.parameters()]


def trained(case: Case, batches: list[Tensor]) -> tuple[Model, Counter[int]]:
    """The same through the Balancer, and how often each parameter's hook was called."""
    model, calls = Model(case), Counter[int]()
    shared: Any = model.trunk if case.as_modules else model.trunk.parameters()
    memory: Any = "lean" if case.engine is InBlocks else "fast"
    balancer = Balancer(case.method, shared, tasks=NAMES, apply=case.apply, memory=memory)
    if case.hooks:
        for p in (p for p in model.parameters() if p.requires_grad):
            p.register_post_accumulate_grad_hook(lambda p: calls.update([id(p)]))
    if case.accumulate:
        for p in model.parameters():
            p.grad = torch.ones_like(p)
    for x in batches:
        for part, last in [(x[:2], False), (x[2:], True)] if case.micro_batches else [(x, True)]:
            z, losses = model.losses(part)
            if case.micro_batches:
                losses = {name: loss / 2 for name, loss in losses.items()}
            if not last:
                balancer.accumulate(losses, of=2, scale=case.scale)
                continue
            engines = balancer._engines
            if case.engine is not None and not case.micro_batches:
                balancer._engines = [case.engine()]
            arguments = {"features": z if case.features else None, "scale": case.scale, "retain_graph": True}
            try:
                balancer.backward(losses, **arguments)  # type: ignore[arg-type]
            except ValueError as error:
                if "no way to serve this call" not in str(error):
                    raise
                balancer._engines = engines
                balancer.backward(losses, **arguments)  # type: ignore[arg-type]
            balancer._engines = engines
    return model, calls


def sensible(case: Case) -> bool:
    """Whether the Balancer takes such a call at all; what it refuses has tests of its own."""
    gram = isinstance(case.method, GramAggregator)
    if isinstance(case.method, Scalarizer):
        # Its weights in a window are those of the first part's losses.
        return not (case.micro_batches and case.method.traits.needs_losses)
    if case.apply == "loss" and (not gram or case.checkpointing == "reentrant" or case.micro_batches):
        return False
    return not (case.features and (case.micro_batches or isinstance(case.method, MoCo)))


booleans = st.booleans()
cases = st.builds(
    Case,
    method=st.sampled_from(METHODS),
    engine=st.sampled_from([None, *ENGINES]),
    apply=st.sampled_from(["shared", "loss"]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    frozen=booleans,
    tied=booleans,
    absent=booleans,
    checkpointing=st.sampled_from(["no", "plain", "reentrant"]),
    features=booleans,
    hooks=booleans,
    scale=st.sampled_from([None, 1024.0]),
    accumulate=booleans,
    micro_batches=booleans,
    as_modules=booleans,
).filter(sensible)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=cases)
def test_every_way_is_plain_autograd_on_what_the_method_decides(case: Case) -> None:
    draws = torch.Generator().manual_seed(3)
    batches = [torch.randn(4, 2, 3, 3, generator=draws).to(case.dtype) for _ in range(3)]
    wanted = oracle(case, batches)
    model, calls = trained(case, batches)
    tolerance = 1e-9 if case.dtype == torch.float64 else 2e-4
    for (name, p), target in zip(model.named_parameters(), wanted, strict=True):
        if target is None:
            assert p.grad is None, name
            continue
        assert p.grad is not None, name
        size = float(target.abs().max())
        torch.testing.assert_close(
            p.grad, target, rtol=tolerance, atol=tolerance * size, msg=lambda m, n=name: f"{n}: {m}"
        )
        assert p.grad.stride() == p.stride() or p.numel() == 0, name
    if case.hooks and not case.micro_batches:
        reached = {id(p) for p in model.parameters() if p.requires_grad} - {
            id(p) for k, head in enumerate(model.heads) if case.absent and k == 1 for p in head.parameters()
        }
        assert calls == Counter(dict.fromkeys(reached, len(batches)))
