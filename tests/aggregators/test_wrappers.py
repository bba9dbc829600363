"""Wrappers: what they do to weights and state, what survives of the inner's promises, and what a held step costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mtlgrad import (
    GH,
    MGDA,
    Balancer,
    CAGrad,
    Ema,
    Every,
    GradDrop,
    GramAggregator,
    NashMTL,
    Normalised,
    PCGrad,
    Sum,
    catalog,
)
from mtlgrad.testing import check_method, jacobians

Losses = dict[str, Tensor]


def grams(steps: int, m: int = 3) -> list[Tensor]:
    return [J @ J.T for J in (jacobians(m, seed=seed)["plain"] for seed in range(steps))]


def run(method: GramAggregator, sequence: list[Tensor]) -> Tensor:
    state, seen = method.init(len(sequence[0])), []
    for gram in sequence:
        weights, state = method.step(gram, state, losses=torch.arange(1.0, 1 + len(gram)).double())
        seen.append(weights)
    return torch.stack(seen)


def test_every_holds_the_weights_in_between() -> None:
    sequence = grams(7)
    inner = torch.stack([CAGrad().weights(gram) for gram in sequence])
    torch.testing.assert_close(run(Every(3, CAGrad()), sequence), inner[[0, 0, 0, 3, 3, 3, 6]])


def test_ema_is_the_corrected_average() -> None:
    sequence = grams(6)
    inner = torch.stack([MGDA().weights(gram) for gram in sequence])
    got = run(Ema(MGDA(), beta=0.7), sequence)
    for t in range(6):
        share = 0.7 ** torch.arange(t, -1, -1).double()
        torch.testing.assert_close(got[t], (share @ inner[: t + 1]) / share.sum())
    torch.testing.assert_close(got.sum(1), torch.ones(6).double())


@pytest.mark.parametrize("wrap", [lambda m: Every(1, m), lambda m: Ema(m, beta=0)], ids=["Every(1)", "Ema(0)"])
def test_without_memory_a_wrapper_is_its_inner(wrap: Callable[[GramAggregator], GramAggregator]) -> None:
    sequence = grams(4)
    torch.testing.assert_close(run(wrap(GH()), sequence), run(GH(), sequence))
    assert wrap(GH()).traits == dataclasses.replace(GH().traits, stateful=True, closed_form_pair=False)


@pytest.mark.parametrize("wrap", [lambda m: Every(2, m), lambda m: Ema(m)], ids=["Every", "Ema"])
def test_memory_costs_the_promise_about_conflict(wrap: Callable[[GramAggregator], GramAggregator]) -> None:
    method = wrap(MGDA())
    assert MGDA().traits.non_conflicting
    assert not method.traits.non_conflicting
    assert method.traits.simplex
    broken = False
    for seed in range(20):
        first, second = (jacobians(3, 4, seed=s)["plain"] for s in (seed, seed + 100))
        direction = run(method, [first @ first.T, second @ second.T])[1] @ second
        broken |= bool((second @ direction < -1e-6).any())
    assert broken, "if it always held, the traits would understate it"


@pytest.mark.parametrize("by", ["l2", "loss", "loss+"])
@pytest.mark.parametrize("inner", [MGDA(), GH(), CAGrad(), PCGrad(order="fixed")], ids=lambda m: m.name)
@pytest.mark.parametrize("m", [2, 4])
def test_normalised_is_the_inner_on_normalised_gradients(inner: GramAggregator, by: str, m: int) -> None:
    J = jacobians(m)["imbalanced"]
    losses = torch.linspace(0.1, 5, m).double()
    norms, ones = J.norm(dim=1), torch.ones(m).double()
    n = {"l2": norms, "loss": losses, "loss+": losses * norms}[by] * ones
    method = Normalised(inner, by=by)  # type: ignore[arg-type]
    torch.testing.assert_close(method(J, losses=losses), inner(J / n[:, None]))


def test_normalised_leaves_zero_gradients_and_losses_out() -> None:
    J = jacobians(3)["zero row"]
    for by in ("l2", "loss", "loss+"):
        for losses in (torch.tensor([0.0, 1.0, 2.0]), torch.zeros(3)):
            w = Normalised(GH(), by=by).weights(J @ J.T, losses=losses)  # type: ignore[arg-type]
            assert w.isfinite().all()
    with pytest.raises(ValueError, match=r"Normalised is defined for losses >= 0.*-1\.0"):
        Normalised(GH(), by="loss").weights(J @ J.T, losses=torch.tensor([-1.0, 1.0, 1.0]))


NESTED = [
    Ema(Every(2, PCGrad(order="fixed"))),
    Normalised(Ema(PCGrad(order="fixed")), by="loss+"),
]


@pytest.mark.parametrize("method", NESTED, ids=lambda m: m.name)
def test_wrappers_nest_with_a_flat_state(method: GramAggregator) -> None:
    state = method.init(3)
    assert all(isinstance(value, Tensor) for value in state.values())
    assert len(state) == 3 * method.name.count("Every") + 2 * method.name.count("Ema")
    check_method(method)


def test_nested_memories_are_kept_apart() -> None:
    sequence = grams(6)
    inner = run(CAGrad(), sequence)
    torch.testing.assert_close(run(Every(3, Every(2, CAGrad())), sequence), inner[[0, 0, 0, 0, 0, 0]])
    torch.testing.assert_close(run(Every(2, Every(2, CAGrad())), sequence), inner[[0, 0, 0, 0, 4, 4]])


def test_the_catalog_makes_wrappers_from_tables() -> None:
    table = {"method": "ema", "inner": {"method": "cagrad", "c": 0.4}, "beta": 0.5}
    assert catalog.make("every", k=3, inner=table) == Every(3, Ema(CAGrad(c=0.4), beta=0.5))
    assert catalog.make("normalised", inner={"method": "mgda"}, by="l2") == Normalised(MGDA())
    with pytest.raises(ValueError, match="unknown method 'mgdaa'.*'mgda'"):
        catalog.make("normalised", inner={"method": "mgdaa"})


def test_errors_name_the_argument() -> None:
    cases: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (TypeError, r"inner must be a GramAggregator.*did you mean MGDA\(\)", lambda: Every(2, MGDA)),  # type: ignore[arg-type]
        (TypeError, "inner.*GradDrop", lambda: Ema(GradDrop())),  # type: ignore[arg-type]
        (TypeError, "inner.*Sum", lambda: Normalised(Sum())),  # type: ignore[arg-type]
        (ValueError, "k must be an int >= 1, got 0", lambda: Every(0, MGDA())),
        (ValueError, "beta.*1", lambda: Ema(MGDA(), beta=1)),
        (ValueError, "by must be one of 'l2', 'loss', 'loss\\+', got 'l1'", lambda: Normalised(MGDA(), by="l1")),  # type: ignore[arg-type]
    ]
    for error, words, call in cases:
        with pytest.raises(error, match=words):
            call()


# ----------------------------------------------------------------------- in the Balancer


class Counted(nn.Module):
    """A trunk that counts the backward passes through it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(4, 5).double()
        self.passes = 0

    def _count(self, _: Tensor) -> None:
        self.passes += 1

    def losses(self, step: int) -> Losses:
        x = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        z = self.trunk(x)
        z.register_hook(self._count)
        return {"a": (z - 1).square().mean(), "b": (z + 2).square().mean(), "c": (z - x.sum()).square().mean()}


def passes(balancer: Balancer, net: Counted, steps: int) -> list[int]:
    counted = []
    for step in range(steps):
        net.passes = 0
        balancer.backward(net.losses(step))
        counted.append(net.passes)
    return counted


def test_a_held_step_is_one_backward_pass() -> None:
    net = Counted()
    balancer = Balancer(Every(3, CAGrad()), net.trunk.parameters(), apply="loss")
    assert passes(balancer, net, 7) == [4, 1, 1, 4, 1, 1, 4]
    assert passes(Balancer(CAGrad(), net.trunk.parameters(), apply="loss"), net, 2) == [4, 4]
    assert passes(Balancer(Every(3, CAGrad()), net.trunk.parameters()), net, 3) == [3, 3, 3], "J is needed there"
    assert passes(Balancer(Ema(Every(2, CAGrad())), net.trunk.parameters(), apply="loss"), net, 3) == [4, 1, 4]


def test_a_held_step_can_be_diagnosed() -> None:
    net = Counted()
    balancer = Balancer(Every(5, CAGrad()), net.trunk.parameters(), apply="loss", diagnose_every=2)
    assert passes(balancer, net, 5) == [4, 1, 4, 1, 4]


def test_a_held_step_gives_the_gradient_of_the_weighted_losses() -> None:
    net = Counted()
    balancer = Balancer(Every(2, CAGrad()), net.trunk.parameters(), apply="loss")
    first = balancer.backward(net.losses(0))
    net.zero_grad()
    held = balancer.backward(net.losses(1))
    assert first.weights is not None
    assert held.weights is not None
    assert held.gram is None
    torch.testing.assert_close(held.weights, first.weights)
    got = net.trunk.weight.grad.clone()  # type: ignore[union-attr]
    weighted = torch.stack(list(net.losses(1).values())) @ first.weights
    torch.testing.assert_close(got, torch.autograd.grad(weighted, net.trunk.weight)[0])


def test_a_held_step_with_a_non_finite_loss_does_not_count() -> None:
    net = Counted()
    balancer = Balancer(Every(2, CAGrad()), net.trunk.parameters(), apply="loss")
    balancer.backward(net.losses(0))
    before = {name: value.clone() for name, value in balancer.state_dict()["states"][0].items()}
    bad = net.losses(1)
    assert not bool(balancer.backward({**bad, "a": bad["a"] * torch.nan}).finite)
    after = balancer.state_dict()["states"][0]
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("method", [Every(3, CAGrad()), Ema(Every(2, CAGrad()))], ids=lambda m: m.name)
def test_a_resumed_balancer_holds_the_same_weights(method: GramAggregator) -> None:
    net = Counted()

    def step(balancer: Balancer, k: int) -> Tensor:
        net.zero_grad()
        balancer.backward(net.losses(k))
        return net.trunk.weight.grad.clone()  # type: ignore[union-attr]

    whole = Balancer(method, net.trunk.parameters(), apply="loss")
    for k in range(4):
        step(whole, k)
    saved = whole.state_dict()
    wanted = [step(whole, k) for k in range(4, 9)]
    fresh = Balancer(method, net.trunk.parameters(), apply="loss")
    fresh.load_state_dict(saved)
    assert all(torch.equal(step(fresh, k), one) for k, one in zip(range(4, 9), wanted, strict=True))


@pytest.mark.parametrize("apply", ["shared", "loss"])
@pytest.mark.parametrize("wrap", [lambda inner: Every(2, inner), lambda inner: Ema(Every(2, inner))])
def test_a_held_step_did_not_fall_back(wrap: Callable[[GramAggregator], GramAggregator], apply: str) -> None:
    p = torch.zeros(2, requires_grad=True)
    balancer = Balancer(wrap(NashMTL()), [p], apply=apply, diagnose_every=1)  # type: ignore[arg-type]
    told = []
    for _ in range(4):
        step = balancer.backward({"a": p[0], "b": -p[0]})
        assert step.gram is not None
        told.append((bool(step.fell_back), step.settled))
    assert told == [(True, False), (False, True)] * 2, "in between nobody was asked"
