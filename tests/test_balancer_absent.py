"""Tasks that have no loss in a batch: the step is the one of the tasks that are there, and nothing else moves."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import mtlgrad
from mtlgrad import GH, Balancer, JacobianAggregator, MoCo, Scalarizer, Sum, catalog
from mtlgrad.states import picked, task_axes
from tests.nets import Losses, Net, batch, flat, grads

M = 10
PRESENT = [0, 2, 3, 4, 5, 6, 7, 8, 9]
METHODS = [
    method
    for name in catalog.names()
    for method in [catalog.entry(name).method]
    if method.traits.max_tasks is None and method.traits.min_tasks < M and not method.traits.needs_features
]


def many(net: Net, x: Tensor) -> Losses:
    z = net.trunk(x)
    a, b = net.losses_at(z).values()
    return {f"t{k}": (a * (1 + k) + (z - k).square().mean() if k % 2 else b + (z * k).sin().mean()) for k in range(M)}


def fits(method: mtlgrad.Method, m: int) -> bool:
    try:
        method.check_tasks(m)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("method", [one for one in METHODS if fits(one, M)], ids=lambda m: m.name)
def test_the_step_of_the_tasks_that_are_present(method: mtlgrad.Method, first: bool) -> None:
    net, x = Net(), batch()
    names = tuple(f"t{k}" for k in range(M))
    balancer = Balancer(method, net.trunk, tasks=names, seed=1)
    if not first:
        balancer.backward(many(net, x))
        net.zero_grad()
    before = copy.deepcopy(balancer.state_dict()["states"])
    draws = balancer._memory.source().clone_state()
    losses = many(net, x)
    parameters = list(net.trunk.parameters())
    J = torch.stack([flat(torch.autograd.grad(one, parameters, retain_graph=True)) for one in losses.values()])[PRESENT]
    values = torch.stack([losses[names[k]].detach() for k in PRESENT])
    del losses["t1"]
    step = balancer.backward(losses)

    alone = method.among(PRESENT)
    if before is None:
        start = alone.init_like(J) if isinstance(alone, JacobianAggregator) else alone.init(len(PRESENT))
    else:
        (start,) = picked(method, before, M, PRESENT)
    if isinstance(alone, Scalarizer):
        weights, after = alone.step(values, start, generator=draws)
        wanted = weights @ J
    elif isinstance(alone, JacobianAggregator):
        wanted, after = alone.step(J, start, losses=values, generator=draws)
    else:
        weights, after = alone.step(J @ J.T, start, losses=values, generator=draws)  # type: ignore[attr-defined]
        wanted = weights @ J
    torch.testing.assert_close(grads(net.trunk), wanted, rtol=1e-6, atol=1e-9)

    (now,) = balancer.state_dict()["states"]
    (kept,) = picked(method, [now], M, PRESENT)
    torch.testing.assert_close(kept, after, rtol=1e-6, atol=1e-9)
    (own,) = picked(method, [now], M, [1])
    if before is not None:
        (old,) = picked(method, before, M, [1])
        for name, axes in task_axes(method, M).items():
            assert not axes or torch.equal(own[name], old[name]), "the absent task's state has not moved"
    assert step.present == tuple(names[k] for k in PRESENT)
    assert step.absent == ("t1",)
    for vector in (step.losses, step.weights, step.alignment):
        if vector is not None:
            assert torch.equal(vector.isnan().nonzero().flatten(), torch.tensor([1]))
    if step.gram is not None:
        assert int(step.gram.isnan().sum()) == 2 * M - 1
    step.to_dict()
    step.scalars()


@pytest.mark.parametrize("apply", ["shared", "loss"])
@pytest.mark.parametrize("memory", ["fast", "lean"])
def test_none_is_absent_and_private_parameters_stay(apply: Any, memory: Any) -> None:
    for method in (GH(), Sum(), mtlgrad.MGDA()):
        net, x = Net(), batch()
        balancer = Balancer(method, net.trunk, apply=apply, memory=memory)
        step = balancer.backward({"a": net.losses(x)["a"], "b": None})
        assert step.tasks == ("a", "b")
        assert step.present == ("a",)
        assert net.heads["a"].weight.grad is not None
        assert net.heads["b"].weight.grad is None
        got = grads(net.trunk)
        net.zero_grad()
        net.losses(x)["a"].backward()
        torch.testing.assert_close(got, grads(net.trunk))


def test_groups_and_features() -> None:
    net, x = Net(), batch()
    names = ("a", "b", "c")
    step = Balancer(GH(), net.trunk, tasks=names, groups="tensor").backward(net.losses(x))
    assert step.weights.shape == (4, 3)  # type: ignore[union-attr]
    assert step.weights[:, 2].isnan().all()  # type: ignore[index]
    net.zero_grad()
    z = net.trunk(x)
    step = Balancer(GH(), net.trunk, tasks=names).backward(net.losses_at(z), features=z)
    got = grads(net.trunk)
    net.zero_grad()
    z = net.trunk(x)
    Balancer(GH(), net.trunk).backward(net.losses_at(z), features=z)
    torch.testing.assert_close(got, grads(net.trunk))
    assert step.gram[2].isnan().all()  # type: ignore[index]


def test_a_task_absent_from_some_micro_batches() -> None:
    net, x = Net(), batch()
    y = batch(seed=7)
    one, two = net.losses(x), net.losses(y)
    Balancer(GH(), net.trunk).backward({"a": one["a"] + two["a"], "b": two["b"]})
    wanted = grads(net.trunk)
    for partial_first in (True, False):
        net.zero_grad()
        partial, full = {"a": net.losses(x)["a"], "b": None}, net.losses(y)
        balancer = Balancer(GH(), net.trunk, tasks=("a", "b"))
        balancer.accumulate(partial if partial_first else full)
        step = balancer.backward(full if partial_first else partial)
        assert step.present == ("a", "b")
        torch.testing.assert_close(grads(net.trunk), wanted)
    scalarizer = Balancer(Sum(), net.trunk, tasks=("a", "b"))
    scalarizer.accumulate(net.losses(x))
    with pytest.raises(ValueError, match="same tasks must be present"):
        scalarizer.backward({"a": net.losses(x)["a"]})


def test_methods_that_cannot_do_without_a_task_say_so() -> None:
    net, x = Net(), batch()
    for method, words in ((mtlgrad.GHPlusPlus(), "m=1"), (mtlgrad.AGEM(main=1), "AGEM.*task number 1.*no loss")):
        with pytest.raises(ValueError, match=words):
            Balancer(method, net.trunk, tasks=("a", "b")).backward({"a": net.losses(x)["a"]})
    fixed = Balancer(mtlgrad.Fixed((1.0, 0.25)), net.trunk, tasks=("a", "b"))
    assert fixed.backward({"b": net.losses(x)["b"]}).weights[1] == 0.25  # type: ignore[index]
    averaging = Balancer(MoCo(), net.trunk, tasks=("a", "b"))
    averaging.backward({"b": net.losses(x)["b"]})
    averaging.backward(net.losses(x))
