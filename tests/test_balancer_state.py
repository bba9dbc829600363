"""The Balancer's state, and what it refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import mtlgrad
from mtlgrad import (
    GH,
    MGDA,
    Balancer,
    GHPlusPlus,
    GradDrop,
    PCGrad,
    Sum,
)
from tests.nets import Net, batch, grads


@pytest.mark.parametrize("method", [PCGrad(), GradDrop()], ids=lambda m: m.name)
def test_state_dict_restores_a_fresh_object(method: mtlgrad.Method) -> None:
    net, x = Net(), batch()

    def run(balancer: Balancer) -> Tensor:
        net.zero_grad()
        losses = net.losses(x)
        balancer.backward({**losses, "c": -losses["a"] - 2 * losses["b"] ** 2})
        return grads(net)

    balancer = Balancer(method, net.trunk.parameters(), seed=3)
    run(balancer)
    saved = copy.deepcopy(balancer.state_dict())
    wanted = [run(balancer) for _ in range(3)]
    fresh = Balancer(method, net.trunk.parameters())
    fresh.load_state_dict(saved)
    assert all(torch.equal(run(fresh), one) for one in wanted)


def test_state_of_another_method_or_task_is_refused() -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.trunk.parameters())
    balancer.backward(net.losses(x))
    state = balancer.state_dict()
    with pytest.raises(ValueError, match=r"GH.*MGDA"):
        Balancer(MGDA(), net.trunk.parameters()).load_state_dict(state)
    with pytest.raises(ValueError, match="'a', 'b'"):
        Balancer(GH(), net.trunk.parameters(), tasks=("b", "c")).load_state_dict(state)
    with pytest.raises(ValueError, match="generator"):
        balancer.load_state_dict({"method": "GH"})
    with pytest.raises(ValueError, match="groups"):
        Balancer(GH(), net.trunk.parameters(), groups="tensor").load_state_dict(state)
    with pytest.raises(ValueError, match="loss"):
        Balancer(GH(), net.trunk.parameters(), apply="loss").load_state_dict(state)
    balancer.accumulate(net.losses(x))
    with pytest.raises(ValueError, match=r"backward\(\)"):
        balancer.state_dict()


# ----------------------------------------------------------------------------------- errors


def test_constructor_errors() -> None:
    net = Net()
    shared = list(net.trunk.parameters())
    cases: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (TypeError, r"method.*GH\(\)", lambda: Balancer(GH, shared)),  # type: ignore[arg-type]
        (TypeError, "method.*'gh'", lambda: Balancer("gh", shared)),  # type: ignore[arg-type]
        (ValueError, "shared.*at least one", lambda: Balancer(GH(), [])),
        (TypeError, "shared.*list", lambda: Balancer(GH(), shared[0])),
        (TypeError, r"shared\[0\].*tuple.*names", lambda: Balancer(GH(), net.trunk.named_parameters())),  # type: ignore[arg-type]
        (ValueError, r"shared\[0\].*leaf", lambda: Balancer(GH(), [shared[0] * 2])),
        (ValueError, "apply.*'shared' or 'loss'.*'heads'", lambda: Balancer(GH(), shared, apply="heads")),  # type: ignore[arg-type]
        (ValueError, "apply='loss'.*GradDrop", lambda: Balancer(GradDrop(), shared, apply="loss")),
        (ValueError, "apply='loss'.*groups", lambda: Balancer(GH(), shared, apply="loss", groups="tensor")),
        (ValueError, "groups.*Sum", lambda: Balancer(Sum(), shared, groups="tensor")),
        (ValueError, "groups.*'tensor'.*'layer'", lambda: Balancer(GH(), shared, groups="layer")),  # type: ignore[arg-type]
        (ValueError, "groups.*exactly", lambda: Balancer(GH(), shared, groups={"low": shared[:1]})),
        (ValueError, "groups overlap", lambda: Balancer(GH(), shared, groups={"x": shared, "y": shared[:1]})),
        (TypeError, "seed.*'0'", lambda: Balancer(GH(), shared, seed="0")),  # type: ignore[arg-type]
        (ValueError, "diagnose_every.*-1", lambda: Balancer(Sum(), shared, diagnose_every=-1)),
        (ValueError, "m=3", lambda: Balancer(GHPlusPlus(), shared, tasks=("a", "b", "c"))),
        (TypeError, "tasks.*'ab'", lambda: Balancer(GH(), shared, tasks="ab")),
        (ValueError, "distinct", lambda: Balancer(GH(), shared, tasks=("a", "a"))),
    ]
    for error, words, call in cases:
        with pytest.raises(error, match=words):
            call()


def test_backward_errors_leave_everything_as_it_was() -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.trunk.parameters())
    balancer.backward(net.losses(x))
    before = grads(net)
    good = net.losses(x)
    z = net.trunk(x)
    cases: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (TypeError, "losses must map.*list", lambda: balancer.backward(list(good.values()))),  # type: ignore[arg-type]
        (ValueError, "unknown task 'c'.*'a', 'b'", lambda: balancer.backward({**good, "c": good["a"]})),
        (ValueError, "missing task 'b'", lambda: balancer.backward({"a": good["a"]})),
        (ValueError, "at least one", lambda: balancer.backward({})),
        (TypeError, r"losses\['a'\].*float", lambda: balancer.backward({**good, "a": 1.0})),  # type: ignore[dict-item]
        (ValueError, r"losses\['a'\].*\[8, 5\].*mean", lambda: balancer.backward({**good, "a": z})),
        (ValueError, r"losses\['b'\].*grad", lambda: balancer.backward({**good, "b": good["b"].detach()})),
        (ValueError, r"features\[0\].*grad", lambda: balancer.backward(good, features=x)),
        (TypeError, r"features\[0\]", lambda: balancer.backward(good, features=[1.0])),  # type: ignore[list-item]
    ]
    for error, words, call in cases:
        with pytest.raises(error, match=words):
            call()
        torch.testing.assert_close(grads(net), before)
    with pytest.raises(ValueError, match="apply='loss'"):
        Balancer(GH(), net.trunk.parameters(), apply="loss").accumulate(good)


def test_several_ranks_are_refused_rather_than_left_to_drift_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = Net(), batch()
    balancer = Balancer(GH(), net.trunk.parameters())
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    with pytest.raises(RuntimeError, match="one process.*one of 2"):
        balancer.backward(net.losses(x))
    assert net.trunk[0].weight.grad is None


def test_order_of_the_mapping_does_not_matter_after_the_first_call() -> None:
    net, x = Net(), batch()
    balancer = Balancer(GHPlusPlus(), net.trunk.parameters())
    balancer.backward(net.losses(x))
    once = grads(net)
    net.zero_grad()
    balancer.backward(dict(reversed(net.losses(x).items())))
    torch.testing.assert_close(grads(net), once)
