"""Run on every rank: windows, absent tasks, unused parameters, scales, what is not finite, what is refused."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

import mtlgrad
from tests.distributed.cases_catalog import own, sharded
from tests.distributed.problem import Tasks, batches, values, whole

METHODS = {"gh": mtlgrad.GH(), "uw": mtlgrad.UW(), "moco": mtlgrad.MoCo(), "sum": mtlgrad.Sum()}
WRAPS: dict[str, Callable[[Tasks], Any]] = {"wrapped": DistributedDataParallel, "sharded": sharded}


def named(losses: list[Tensor]) -> dict[str, Tensor | None]:
    return {f"task {k}": loss for k, loss in enumerate(losses)}


def grads(model: nn.Module) -> Tensor:
    return torch.cat(
        [(torch.zeros(p.shape) if p.grad is None else whole(p.grad)).reshape(-1) for p in model.parameters()]
    )


def made(kind: str, method: mtlgrad.Method, m: int = 3, **options: Any) -> tuple[Any, Tasks, mtlgrad.Balancer]:
    model = WRAPS[kind](Tasks(m)) if kind in WRAPS else Tasks(m)
    inner = getattr(model, "module", model)
    return model, inner, mtlgrad.Balancer(method, shared=inner.trunk, **options)


def window(model: Any, balancer: mtlgrad.Balancer, parts: list[Tensor]) -> mtlgrad.StepRecord:
    """Micro-batches whose decision falls on the last."""
    for k, x in enumerate(parts):
        losses = {name: loss / len(parts) for name, loss in named(model(x)[0]).items() if loss is not None}
        if k < len(parts) - 1:
            balancer.accumulate(losses, of=len(parts))
    return balancer.backward(losses)


def case_windows() -> dict[str, Any]:
    found = {}
    for kind in WRAPS:
        for name, method in METHODS.items():
            model, inner, balancer = made(kind, method)
            record = window(model, balancer, [own(x) for x in batches()[:3]])
            found[f"{kind} {name}"] = (grads(inner), record.losses)
    return found


def case_apply_loss() -> Tensor:
    model, inner, balancer = made("wrapped", mtlgrad.GH(), apply="loss")
    balancer.backward(named(model(own(batches()[0]))[0]))
    return grads(inner)


def case_groups() -> dict[str, Tensor]:
    found = {}
    for kind in WRAPS:
        for name in ("gh", "moco"):
            model, inner, balancer = made(kind, METHODS[name], groups="tensor")
            balancer.backward(named(model(own(batches()[0]))[0]))
            found[f"{kind} {name}"] = grads(inner)
    return found


def case_scaled() -> dict[str, Any]:
    found = {}
    for kind in WRAPS:
        model, inner, balancer = made(kind, mtlgrad.GH())
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        balancer.backward(named(model(own(batches()[0]))[0]), scale=scaler)
        found[kind] = grads(inner) / 256
    return found


def case_not_finite_on_one_rank() -> dict[str, Any]:
    found = {}
    for kind in WRAPS:
        for name, method in METHODS.items():
            model, _inner, balancer = made(kind, method)
            losses = named(model(own(batches()[0]))[0])
            balancer.backward(losses)
            before = balancer.state_dict()
            losses = named(model(own(batches()[1]))[0])
            if dist.get_rank() == 1:
                losses["task 0"] = losses["task 0"] * torch.inf
            record = balancer.backward(losses)
            after = balancer.state_dict()
            found[f"{kind} {name}"] = (bool(record.finite), _same(before["states"], after["states"]))
    return found


def _same(a: Any, b: Any) -> bool:
    return all(torch.equal(one[key], two[key]) for one, two in zip(a, b, strict=True) for key in one)


def case_absent_on_one_rank() -> dict[str, Any]:
    """Task 2 has no loss on rank 1: its loss is that of rank 0, the others' are means."""
    found = {}
    for name, method in METHODS.items():
        model, inner, balancer = made("wrapped", method, private=None)
        losses = named(model(own(batches()[0]))[0])
        try:
            if dist.get_rank() == 1:
                losses["task 2"] = None
            balancer = mtlgrad.Balancer(method, shared=inner.trunk, private=list(inner.heads.parameters()))
            record = balancer.backward(losses)
            found[name] = (grads(inner), record.losses)
        except Exception:
            found[name] = traceback.format_exc()
    return found


def case_absent_everywhere() -> Tensor:
    model, inner, balancer = made("wrapped", mtlgrad.GH())
    losses = named(model(own(batches()[0]))[0])
    losses["task 2"] = None
    balancer.backward(losses)
    return grads(inner)


def case_refused() -> dict[str, str]:
    """What is wrong on one rank is told on both."""
    found = {}

    def told(name: str, ask: Callable[[], Any]) -> None:
        try:
            ask()
            found[name] = "nothing"
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"

    first = dist.get_rank() == 0
    model, _, balancer = made("wrapped", mtlgrad.GH())
    losses = named(model(own(batches()[0]))[0])
    told("bad loss", lambda: balancer.backward({**losses, "task 1": losses["task 1"].detach()} if first else losses))
    told("afterwards", lambda: balancer.backward(losses, retain_graph=True))
    turned = dict(reversed(losses.items())) if first else losses
    told("order", lambda: mtlgrad.Balancer(mtlgrad.GH(), shared=model.module.trunk).backward(turned))
    model, inner, balancer = made("plain", mtlgrad.GH())
    losses = named(inner(own(batches()[0]))[0])
    told("private", lambda: balancer.backward({**losses, "task 2": None} if first else losses))
    with torch.no_grad():
        inner.trunk[0].weight += dist.get_rank()
    losses = named(inner(own(batches()[0]))[0])
    told("apart", lambda: mtlgrad.Balancer(mtlgrad.GH(), shared=inner.trunk).backward(losses))
    model, inner, balancer = made("sharded", mtlgrad.GH())
    losses = named(model(own(batches()[0]))[0])
    told("absent in shards", lambda: balancer.backward({**losses, "task 2": None} if first else losses))
    told("mixed", lambda: mtlgrad.Balancer(mtlgrad.GH(), shared=[inner.trunk, nn.Linear(2, 2)]).backward(losses))
    told("measure in shards", lambda: mtlgrad.measure(losses, inner.trunk))
    told("loss in shards", lambda: mtlgrad.Balancer(mtlgrad.GH(), shared=inner.trunk, apply="loss").backward(losses))
    model.set_requires_gradient_sync(False)
    told("no sync", lambda: balancer.backward(named(model(own(batches()[0]))[0])))
    return found


def case_measured() -> Tensor:
    model, inner, _ = made("wrapped", mtlgrad.GH())
    record = mtlgrad.measure(named(model(own(batches()[0]))[0]), inner.trunk)
    assert record.gram is not None
    return record.gram


def case_mixed_precision() -> tuple[Tensor, bool]:
    """float32 shards, bfloat16 computation."""
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    model = fully_shard(Tasks(3), mp_policy=policy)
    balancer = mtlgrad.Balancer(mtlgrad.GH(), shared=model.trunk)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for x in batches():
        optimizer.zero_grad()
        record = balancer.backward(named([loss.float() for loss in model(own(x).bfloat16())[0]]))
        optimizer.step()
    return values(model), bool(record.finite)


def case_gradients_already_there() -> Tensor:
    model, inner, balancer = made("wrapped", mtlgrad.GH())
    for p in inner.parameters():
        p.grad = torch.ones_like(p)
    balancer.backward(named(model(own(batches()[0]))[0]))
    return grads(inner)


def case_diagnosed() -> Tensor:
    model, _, balancer = made("wrapped", mtlgrad.UW(), diagnose_every=1)
    record = balancer.backward(named(model(own(batches()[0]))[0]))
    assert record.gram is not None
    return record.gram


SEEN = {"gh": mtlgrad.GH(), "graddrop": mtlgrad.GradDrop(), "moco": mtlgrad.MoCo()}
AT_MAPS = {"gh": mtlgrad.GH(), "graddrop": mtlgrad.GradDrop(), "activations": mtlgrad.ActivationGradDrop()}


class Maps(nn.Module):
    """Convolutions with two heads; the representation is a map of features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.trunk = nn.Sequential(nn.Conv2d(2, 4, 2), nn.Tanh(), nn.Conv2d(4, 3, 2))
        self.heads = nn.ModuleList(nn.Conv2d(3, 2, 1) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[dict[str, Tensor | None], Tensor]:
        z = self.trunk(x)
        losses = [(head(z) - 1).square().flatten(1).sum(1) for head in self.heads]
        return {"a": losses[0].mean(), "b": -losses[1].sin().mean()}, z


def shards(model: Maps) -> Any:
    for layer in (model.trunk[0], model.trunk[2]):
        fully_shard(layer)
    return fully_shard(model)


def images() -> Tensor:
    return torch.randn(6, 2, 4, 5, generator=torch.Generator().manual_seed(8))


def seen(model: Any, inner: nn.Module, x: Tensor, method: mtlgrad.Method, *, at_maps: bool) -> Tensor:
    losses, z = model(x)
    mtlgrad.Balancer(method, shared=inner.trunk, seed=2).backward(losses, features=z if at_maps else None)
    return grads(inner)


def case_channels_last() -> dict[str, Tensor]:
    """On rank 1 the plain model is row-major."""
    found = {}
    for kind in ("plain", "wrapped", "sharded"):
        for at_maps, methods in ((False, SEEN), (True, AT_MAPS)):
            for name, method in methods.items():
                inner, x = Maps(), own(images())
                if kind == "sharded":  # its parameters are row-major; the representation need not be
                    model = shards(inner)
                elif kind == "plain" and dist.get_rank() == 1:
                    model = inner
                else:
                    inner = inner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
                    model = DistributedDataParallel(inner) if kind == "wrapped" else inner
                if kind != "plain" or dist.get_rank() == 0:
                    x = x.to(memory_format=torch.channels_last)
                found[f"{kind} {at_maps} {name}"] = seen(model, inner, x, method, at_maps=at_maps)
    return found


class Branches(nn.Module):
    """A trunk of which each rank uses its own branch besides a common one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.common = nn.Linear(6, 4)
        self.branches = nn.ModuleList(nn.Linear(6, 4) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(2))

    def forward(self, x: Tensor, branch: int) -> dict[str, Tensor]:
        z = self.common(x) + self.branches[branch](x)
        return {str(k): (head(z)[:, 0] - k).square().mean() for k, head in enumerate(self.heads)}


def case_unused() -> tuple[Tensor, list[bool]]:
    model = DistributedDataParallel(Branches())
    shared = [*model.module.common.parameters(), *model.module.branches.parameters()]
    balancer = mtlgrad.Balancer(mtlgrad.GH(), shared=shared)
    for x in batches()[:2]:
        model.zero_grad()
        balancer.backward(model(own(x), dist.get_rank()))
    return grads(model.module), [p.grad is None for p in model.module.branches.parameters()]
