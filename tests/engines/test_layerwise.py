"""Layer-wise Gramians against one pass a task: the same update, whatever the model."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mtlgrad
from mtlgrad import Balancer
from mtlgrad.engines.layerwise import Layerwise
from mtlgrad.engines.layerwise import plan as planning
from mtlgrad.engines.per_task import PerTask
from tests.engines.comparing import (
    METHODS,
    TASKS,
    assert_same,
    balancer,
    both,
    kernels_for_nothing,
    worth_it_for_small_layers,
)
from tests.engines.models import MODELS, Awkward, heads

REFUSED = {
    "reversed gradient": "ReversalBackward",
    "weight both ways": "by rows",
    "weight norm": "by rows",
    "functional call": "",
}
"""Models that are left to one pass a task, and the reason that is given."""

pytestmark = pytest.mark.parametrize("kernels", [False, True], ids=["by price", "kernels"])


@pytest.fixture(autouse=True)
def eager(kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    worth_it_for_small_layers(monkeypatch)
    if kernels:
        kernels_for_nothing(monkeypatch)


@pytest.mark.parametrize("name", MODELS)
def test_every_model(name: str) -> None:
    method = mtlgrad.CAGrad()
    if name in REFUSED:
        model = MODELS[name](torch.float64)
        own = heads(2, torch.float64)
        made = Balancer(method, model.trunk)
        made.backward(model.losses(2, own))
        assert made.engine is not None
        assert made.engine.name == "one pass a task"
        assert REFUSED[name] in made.engine.others["layer by layer"]
        return
    assert_same(both(Layerwise, method, MODELS[name](torch.float64), 2), 1e-10)
    assert_same(both(Layerwise, method, MODELS[name](torch.float64), 3, apply="loss", steps=2), 1e-10)
    assert_same(both(Layerwise, method, MODELS[name](torch.float32), 2), 2e-4)


@pytest.mark.parametrize(("name", "m"), TASKS)
def test_every_method(name: str, m: int) -> None:
    assert_same(both(Layerwise, METHODS[name], MODELS["branches and an idle layer"](torch.float64), m, steps=2), 1e-10)


@pytest.mark.parametrize("name", ["plain", "tied and called twice", "convolutions", "words"])
def test_groups_and_scales(name: str) -> None:
    build = MODELS[name]
    assert_same(both(Layerwise, mtlgrad.PCGrad(), build(torch.float64), 3, groups="tensor"), 1e-10)
    assert_same(both(Layerwise, mtlgrad.PCGrad(), build(torch.float64), 3, backward={"scale": 1024.0}), 1e-10)
    model = build(torch.float64)
    half = list(model.trunk.parameters())
    groups = {"a": half[::2], "b": half[1::2]}
    assert_same(both(Layerwise, mtlgrad.MGDA(), model, 2, groups=groups, steps=2), 1e-10)


def test_private_parameters_get_what_a_backward_pass_would_give() -> None:
    model, own = MODELS["plain"](torch.float64), heads(2, torch.float64)
    found = both(Layerwise, mtlgrad.GH(), model, 2, private=[])
    assert all(g is None for g in found[0][-4:])
    assert_same(found, 1e-10)
    seen: list[float] = []
    own[0].weight.register_post_accumulate_grad_hook(lambda p: seen.append(float(p.grad.sum())))
    own[1].weight.register_hook(lambda g: 2 * g)
    own[0].bias.grad = torch.ones_like(own[0].bias)
    grads = []
    for engine in (Layerwise, PerTask):
        own.zero_grad()
        model.trunk.zero_grad()
        balancer(engine, mtlgrad.GH(), model.trunk).backward(model.losses(2, own))
        grads.append([p.grad.clone() for p in own.parameters()])
    assert len(seen) == 2
    for got, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_a_part_of_the_trunk_is_shared_and_the_rest_is_private() -> None:
    model, own = MODELS["plain"](torch.float64), heads(3, torch.float64)
    first, last = list(model.trunk[0].parameters()), list(model.trunk[2].parameters())
    for shared in (first, last, [first[0], last[1]]):
        grads = []
        for engine in (Layerwise, PerTask):
            for p in (*model.trunk.parameters(), *own.parameters()):
                p.grad = None
            balancer(engine, mtlgrad.MGDA(), shared).backward(model.losses(3, own))
            grads.append([p.grad.clone() for p in (*model.trunk.parameters(), *own.parameters())])
        for got, wanted in zip(*grads, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)


def disjoint(awkward: Awkward, own: nn.ModuleList) -> dict[str, Tensor]:
    """Losses of parts of the batch, the last sample of nobody."""
    z = awkward.forward()
    return {"a": (own[0](z[1:3]) - 1).square().mean(), "b": 3 * (own[1](z[:1]) + 1).square().mean()}


@pytest.mark.parametrize(
    "name",
    ["plain", "no bias", "sequences", "in place", "tied and called twice", "branches and an idle layer", "words",
     "words, tied", "transformer", "convolutions", "frozen", "batch norm", "batch norm, running", "slopes", "modern",
     "functional weight"],
)  # fmt: skip
def test_losses_of_disjoint_samples(name: str) -> None:
    for dtype, rtol in ((torch.float64, 1e-10), (torch.float32, 2e-4)):
        assert_same(both(Layerwise, mtlgrad.CAGrad(), MODELS[name](dtype), 2, losses=disjoint, steps=2), rtol)
    assert_same(
        both(Layerwise, mtlgrad.CAGrad(), MODELS[name](torch.float64), 2, losses=disjoint, groups="tensor"), 1e-10
    )
    assert_same(both(Layerwise, mtlgrad.CAGrad(), MODELS[name](torch.float64), 2, losses=disjoint, apply="loss"), 1e-10)


def passes_of(model: nn.Module, forward: Callable[[], dict[str, Tensor]], at: nn.Module, **arguments: Any) -> int:
    """How many times a gradient arrives at the output of `at`."""
    count: list[int] = []
    handle = at.register_forward_hook(lambda module, x, out: out.register_hook(lambda g: count.append(1)) and None)
    made = balancer(Layerwise, mtlgrad.MGDA(), model, **arguments)
    made.backward(forward())
    handle.remove()
    return len(count)


def test_disjoint_samples_take_one_pass_unless_something_mixes_them() -> None:
    for name, wanted in {"plain": 1, "batch norm, running": 1, "batch norm": 2}.items():
        model, own = MODELS[name](torch.float64), heads(2, torch.float64)
        assert passes_of(model.trunk, lambda: disjoint(model, own), model.trunk[0]) == wanted  # noqa: B023
    model, own = MODELS["modern"](torch.float64), heads(2, torch.float64)
    assert passes_of(model.trunk, lambda: disjoint(model, own), model.trunk.first) == 1
    model, own = MODELS["plain"](torch.float64), heads(2, torch.float64)
    assert passes_of(model.trunk, lambda: model.losses(2, own), model.trunk[0]) == 2


def test_one_loss_a_sample_takes_one_pass() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)).double()
    x, y = torch.randn(7, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1, 2])

    def forward() -> dict[str, Tensor]:
        each = F.cross_entropy(model(x), y, reduction="none")
        return {str(i): each[i] for i in (3, 0, 6, 5)}  # in an order of their own, and not all

    assert passes_of(model, forward, model[0]) == 1
    grads = []
    for engine in (Layerwise, PerTask):
        model.zero_grad()
        step = balancer(engine, mtlgrad.MGDA(), model).backward(forward())
        grads.append([step.gram, *[p.grad.clone() for p in model.parameters()]])
    for got, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)


def test_nothing_is_left_of_a_step() -> None:
    model, own = MODELS["plain"](torch.float64), heads(2, torch.float64)
    made = Balancer(mtlgrad.GH(), model.trunk)
    z = model.forward()
    seen = weakref.ref(z)
    made.backward({"t0": own[0](z).sum(), "t1": own[1](z).square().sum()})
    assert made.engine is not None
    assert made.engine.name == "layer by layer"
    del z
    gc.collect()
    assert seen() is None
    losses = model.losses(2, own)
    made.backward(losses)
    with pytest.raises(RuntimeError, match="a second time|already been freed"):
        made.backward(losses)


def test_the_graph_is_kept_on_request() -> None:
    model, own = MODELS["plain"](torch.float64), heads(2, torch.float64)
    made, losses = balancer(Layerwise, mtlgrad.GH(), model.trunk), model.losses(2, own)
    made.backward(losses, retain_graph=True)
    once = [p.grad.clone() for p in model.trunk.parameters()]
    made.backward(losses)
    for p, g in zip(model.trunk.parameters(), once, strict=True):
        torch.testing.assert_close(p.grad, 2 * g)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_handed_on(bad: float) -> None:
    def losses(awkward: Awkward, own: nn.ModuleList) -> dict[str, Tensor]:
        given = awkward.losses(2, own)
        return {**given, "t1": given["t1"] * bad}

    got, wanted, one, two = both(Layerwise, mtlgrad.GH(), MODELS["plain"](torch.float64), 2, losses=losses)
    assert not one.finite
    assert not two.finite
    for g, w in zip(got, wanted, strict=True):
        assert g is not None
        assert w is not None
        assert torch.equal(g.isfinite(), w.isfinite())


def test_refusals_say_why() -> None:
    model, own = MODELS["plain"](torch.float64), heads(2, torch.float64)
    p = next(iter(model.trunk.parameters()))

    def reason(method: mtlgrad.Method, **given: Any) -> str:
        made = Balancer(method, model.trunk)
        z = model.forward()
        at = {"features": z} if given.pop("features", False) else {}
        losses = {"a": own[0](z).sum(), "b": own[1](z).square().sum()}
        if given.pop("window", False):
            made.accumulate(losses)
        else:
            made.backward(losses, **at)
        assert made.engine is not None
        return made.engine.others["layer by layer"]

    assert "more than the Gramian" in reason(mtlgrad.GradDrop())
    assert "losses only" in reason(mtlgrad.Sum()) or "more than the Gramian" in reason(mtlgrad.Sum())
    assert "representation" in reason(mtlgrad.MGDA(), features=True)
    assert "window" in reason(mtlgrad.MGDA(), window=True)
    handle = p.register_hook(lambda g: g)
    assert "hook" in reason(mtlgrad.MGDA())
    handle.remove()


def test_what_had_no_plan_is_looked_at_again_when_sizes_change(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def counted(losses: Sequence[Tensor], shared: Sequence[Tensor], *, together: bool) -> planning.Plan | str:
        looks.append(len(losses))
        return planning.plan(losses, shared, together=together)

    monkeypatch.setattr(planning, "_WORTH", 1e18)
    monkeypatch.setattr("mtlgrad.engines.layerwise.engine.plan", counted)
    trunk, own = nn.Sequential(nn.Linear(6, 5), nn.Tanh()), nn.ModuleList([nn.Linear(5, 1), nn.Linear(5, 1)])
    made = Balancer(mtlgrad.GH(), trunk)

    def step(samples: int) -> int:
        z = trunk(torch.randn(samples, 6))
        made.backward([head(z).square().mean() for head in own])
        return len(looks)

    assert [step(samples) for samples in (4, 4, 4, 3, 4, 3)] == [1, 1, 1, 2, 2, 2]
    trunk.append(nn.Linear(5, 5))
    assert step(4) == 3
    monkeypatch.setattr(planning, "_WORTH", -1e18)
    assert made.engine is not None
    assert made.engine.name == "one pass a task"
    assert step(5) == 4
    assert made.engine.name == "layer by layer"
    assert step(5) == 5  # a plan is of its own step
