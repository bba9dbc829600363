"""The Balancer's state, and what it refuses."""

from __future__ import annotations

import copy
import itertools
import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mtlgrad
from mtlgrad import (
    GH,
    MGDA,
    Balancer,
    Ema,
    Every,
    GHPlusPlus,
    GradDrop,
    JacobianAggregator,
    MoCo,
    Normalised,
    PCGrad,
    Sum,
)
from mtlgrad.catalog import CATALOG
from tests.layouts import LAYOUTS, relaid
from tests.nets import Net, batch, grads

COLUMNWISE = [
    entry.method
    for entry in CATALOG.values()
    if isinstance(entry.method, JacobianAggregator) and entry.method.traits.stateful
]


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


def test_a_state_that_is_refused_changes_nothing() -> None:
    net, x = Net(), batch()
    balancer = Balancer(MoCo(), net.trunk.parameters())
    balancer.backward(net.losses(x))
    state = balancer.state_dict()
    fresh = Balancer(MoCo(), list(net.trunk.parameters())[:1])
    (one,) = state["states"]
    cases: list[tuple[Balancer, str, object]] = [
        (fresh, r"'tracked'.*\[2, 48\].*\[2, 101\].*shared parameters", state),
        (balancer, r"must hold 1, got 2", {**state, "states": [one, one]}),
        (balancer, r"'tracked', 'weights'.*\['weights'\]", {**state, "states": [{"weights": one["weights"]}]}),
    ]
    for into, words, bad in cases:
        before = copy.deepcopy(into.state_dict())
        with pytest.raises(ValueError, match=words):
            into.load_state_dict(bad)  # type: ignore[arg-type]
        after = into.state_dict()
        assert (after["tasks"], after["steps"]) == (before["tasks"], before["steps"])
        torch.testing.assert_close(after["states"], before["states"])
    net.zero_grad()
    fresh.backward({"p": net.losses(x)["a"], "q": net.losses(x)["b"]})  # other names are still free


def test_states_of_groups_have_the_groups_sizes() -> None:
    net, x = Net(), batch()
    balancer = Balancer(MoCo(), net.trunk.parameters(), groups="tensor")
    balancer.backward(net.losses(x))
    fresh = Balancer(MoCo(), net.trunk.parameters(), groups="tensor")
    fresh.load_state_dict(balancer.state_dict())
    torch.testing.assert_close(fresh.state_dict()["states"], balancer.state_dict()["states"])


@pytest.mark.parametrize("layout", [*LAYOUTS, None])
@pytest.mark.parametrize("groups", [None, "tensor"])
@pytest.mark.parametrize(
    "method",
    [
        one.method
        for one in CATALOG.values()
        if isinstance(one.method, JacobianAggregator) and one.method.traits.stateful
    ],
    ids=lambda m: m.name,
)
def test_a_state_goes_on_in_another_memory_format(method: mtlgrad.Method, groups: Any, layout: str | None) -> None:
    """With what an earlier version saved, whose columns lay in the order of memory, too."""
    draws = torch.Generator().manual_seed(2)
    batches = [torch.randn(3, 2, 4, 4, generator=draws, dtype=torch.float64) for _ in range(3)]

    def made() -> tuple[nn.Module, nn.Module, Balancer]:
        torch.manual_seed(0)
        trunk = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Conv2d(3, 2, 2)).double()
        return trunk, nn.Linear(8, 2).double(), Balancer(method, trunk, groups=groups)

    def step(trunk: nn.Module, head: nn.Module, balancer: Balancer, x: Tensor) -> Tensor:
        trunk.zero_grad()
        out = head(trunk(x).flatten(1))
        balancer.backward({"a": (out[:, 0] - 1).square().mean(), "b": (out[:, 1] + out[:, 0]).square().mean()})
        return grads(trunk)

    first = made()
    for x in batches[:2]:
        step(*first, x)
    saved = copy.deepcopy(first[2].state_dict())
    wanted = step(*first, batches[2])

    other = made()
    if layout is not None:
        relaid(other[0], layout)
    other[2].load_state_dict(saved)
    torch.testing.assert_close(step(*other, batches[2]), wanted)

    del saved["order"]
    for state, columns in zip(saved["states"], saved["columns"], strict=True):
        for name, value in state.items():
            if value.dim() and value.shape[-1] == sum(columns.values()):
                state[name] = in_memory_order(value, [list(other[0].parameters())[k] for k in columns])
    other[2].load_state_dict(saved)
    torch.testing.assert_close(step(*other, batches[2]), wanted)


def in_memory_order(rows: Tensor, parameters: list[Tensor]) -> Tensor:
    """Row-major columns [..., n] in the order of the parameters' own memory, one entry at a time."""
    pieces = []
    for row, p in zip(rows.split([p.numel() for p in parameters], dim=-1), parameters, strict=True):
        entries = list(itertools.product(*map(range, p.shape)))
        # Gradients of a parameter with gaps are row-major.
        strides = p.stride() if p.untyped_storage().nbytes() == p.nbytes else p.contiguous().stride()
        at = [sum(map(operator.mul, entry, strides)) for entry in entries]
        pieces.append(row[..., [at.index(k) for k in range(p.numel())]])
    return torch.cat(pieces, dim=-1)


def test_a_generator_of_another_device() -> None:
    net, x = Net(), batch()
    elsewhere = torch.zeros(16, dtype=torch.uint8)  # as many bytes as a CUDA generator has
    drawing = Balancer(GradDrop(), net.trunk.parameters())
    drawing.backward(net.losses(x))
    fresh = Balancer(GradDrop(), net.trunk.parameters())
    with pytest.raises(ValueError, match="generator.*16 bytes.*cpu.*GradDrop"):
        fresh.load_state_dict({**drawing.state_dict(), "generator": elsewhere})
    assert fresh.state_dict()["tasks"] is None
    averaging = Balancer(MoCo(), net.trunk.parameters())
    averaging.backward(net.losses(x))
    into = Balancer(MoCo(), net.trunk.parameters())
    into.load_state_dict({**averaging.state_dict(), "generator": elsewhere})  # it never draws
    assert into.state_dict()["tasks"] == ("a", "b")


# ----------------------------------------------------------------------------------- errors


def test_constructor_errors() -> None:
    net = Net()
    shared = list(net.trunk.parameters())
    cases: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (TypeError, r"method.*GH\(\)", lambda: Balancer(GH, shared)),  # type: ignore[arg-type]
        (ValueError, "'ggh'.*did you mean 'gh'", lambda: Balancer("ggh", shared)),
        (ValueError, "shared.*at least one", lambda: Balancer(GH(), [])),
        (TypeError, "shared.*list", lambda: Balancer(GH(), shared[0])),
        (TypeError, r"shared\[0\].*tuple.*names", lambda: Balancer(GH(), net.trunk.named_parameters())),  # type: ignore[arg-type]
        (ValueError, r"shared\[0\].*leaf", lambda: Balancer(GH(), [shared[0] * 2])),
        (TypeError, r"shared\[1\].*complex64", lambda: Balancer(GH(), [shared[0], nn.Parameter(torch.ones(1) * 1j)])),
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
        (TypeError, "losses must map.*int", lambda: balancer.backward(3)),  # type: ignore[arg-type]
        (ValueError, r"losses.*one entry for each of 'a', 'b'.*got 1", lambda: balancer.backward([good["a"]])),
        (ValueError, "unknown task 'c'.*'a', 'b'", lambda: balancer.backward({**good, "c": good["a"]})),
        (ValueError, "every task is absent", lambda: balancer.backward({"a": None, "b": None})),
        (
            ValueError,
            r"losses\['b'\] and losses\['a'\] are one",
            lambda: balancer.backward(dict.fromkeys("ab", good["a"])),
        ),
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


def test_a_refused_first_call_leaves_the_names_free() -> None:
    net, x = Net(), batch()
    z = net.trunk(x)
    losses = net.losses_at(z)
    for method, features, words in (
        (GH(), x, "does not require grad"),
        (GH(), z.clone(), "no loss depends on it"),
        (Normalised(MGDA(), by="loss"), None, "losses >= 0"),
    ):
        balancer = Balancer(method, net.trunk.parameters())
        bad = {"p": -losses["a"], "q": losses["b"], "r": losses["a"]}
        with pytest.raises(ValueError, match=words):
            balancer.backward(bad, features=features, retain_graph=True)
        assert all(p.grad is None for p in net.parameters())
        balancer.backward(losses, retain_graph=True)
        net.zero_grad()


def test_features_that_no_loss_came_from() -> None:
    net, x = Net(), batch()
    for wrong in (
        lambda z: z.flatten(1).clone(),
        lambda z: z.detach().requires_grad_(),
        lambda z: [z, z.clone()],
    ):
        for apply in ("shared", "loss"):
            z = net.trunk(x)
            balancer = Balancer(GH(), net.trunk.parameters(), apply=apply)  # type: ignore[arg-type]
            name = r"features\[1\]" if isinstance(wrong(z), list) else r"features\[0\]"
            with pytest.raises(ValueError, match=f"{name}.*no loss depends on it.*very tensor"):
                balancer.backward(net.losses_at(z), features=wrong(z))
            assert all(p.grad is None for p in net.parameters())
    z = net.trunk(x)
    zero = {t: loss * 0 for t, loss in net.losses_at(z).items()}
    step = Balancer(GH(), net.trunk.parameters()).backward(zero, features=z)  # a gradient, of zeros
    assert bool((step.gram == 0).all())  # type: ignore[union-attr]
    complex_z = torch.view_as_complex(net.trunk[0](x).view(-1, 2))
    with pytest.raises(TypeError, match=r"features\[0\].*complex128"):
        Balancer(GH(), net.trunk.parameters()).backward({"a": complex_z.abs().sum()}, features=complex_z)


@pytest.mark.parametrize(
    "method",
    [
        mtlgrad.DBMTL(),
        Normalised(MGDA(), by="loss"),
        Normalised(MGDA(), by="loss+"),
        Ema(Every(2, Normalised(MGDA(), by="loss"))),
    ],
    ids=lambda m: m.name,
)
def test_losses_that_a_method_is_not_defined_for_leave_everything_as_it_was(method: mtlgrad.Method) -> None:
    net, x = Net(), batch()
    balancer = Balancer(method, net.trunk.parameters())
    losses = net.losses(x)
    with pytest.raises(ValueError, match="losses >= 0"):
        balancer.backward({"a": -losses["a"], "b": losses["b"]})
    assert all(p.grad is None for p in net.parameters())
    balancer.accumulate({"a": -0.1 * net.losses(x)["a"], "b": net.losses(x)["b"]})
    assert bool(balancer.backward(net.losses(x)).finite), "the whole window counts"
    with pytest.raises(ValueError, match="losses >= 0"):
        balancer.method.check_values(torch.tensor([-1.0, 1.0]))


def test_a_private_parameter_may_be_complex() -> None:
    w, phase = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2, dtype=torch.complex64))
    Balancer(GH(), [w], private=[phase]).backward({"a": (w * phase).abs().sum(), "b": w.sum()})
    assert phase.grad is not None


def test_order_of_the_mapping_does_not_matter_after_the_first_call() -> None:
    net, x = Net(), batch()
    balancer = Balancer(GHPlusPlus(), net.trunk.parameters())
    balancer.backward(net.losses(x))
    once = grads(net)
    net.zero_grad()
    balancer.backward(dict(reversed(net.losses(x).items())))
    torch.testing.assert_close(grads(net), once)
