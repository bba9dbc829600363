"""GradVac against the paper's algorithm written out on J, one gradient at a time."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from mtlgrad import Balancer, GradVac, PCGrad
from mtlgrad.aggregators.pcgrad import orders_of_others


def jacobian(seed: int, m: int, n: int = 8) -> Tensor:
    return torch.randn(m, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def literal(J: Tensor, targets: Tensor, beta: float, order: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Algorithm 1 as printed."""
    targets = targets.clone()
    turned = J.clone()
    for i, others in enumerate(order):
        for j in others:
            phi, hat = float(turned[i] @ J[j] / (turned[i].norm() * J[j].norm())), float(targets[i, j])
            if phi < hat:
                up = float(turned[i].norm()) * (hat * math.sqrt(1 - phi**2) - phi * math.sqrt(1 - hat**2))
                turned[i] += up / (float(J[j].norm()) * math.sqrt(1 - hat**2)) * J[j]
            targets[i, j] = (1 - beta) * hat + beta * phi
    return turned.sum(0), targets


@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0, 0.9))
@settings(deadline=None, max_examples=40)
def test_it_is_the_papers_algorithm_over_many_steps(seed: int, m: int, beta: float) -> None:
    method = GradVac(beta=beta)
    state = method.init(m)
    targets = state["targets"].clone()
    ours, copy = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    shared = jacobian(seed + 1, 1)
    for step in range(6):
        J = jacobian(seed + step, m) + shared  # mostly agreeing, so that targets grow
        weights, state = method.step(J @ J.T, state, generator=ours)
        wanted, targets = literal(J, targets, beta, orders_of_others(m, copy).tolist())
        torch.testing.assert_close(weights @ J, wanted, rtol=1e-7, atol=1e-7 * float(J.norm()))
        torch.testing.assert_close(state["targets"], targets, rtol=1e-7, atol=1e-9)


def test_a_correction_reaches_its_target() -> None:
    J = torch.tensor([[1.0, 0.0, 0.0], [-0.3, 2.0, 0.1]], dtype=torch.float64)
    state = {"targets": torch.tensor([[0.0, 0.7], [-0.9, 0.0]], dtype=torch.float64)}
    weights, _ = GradVac().step(J @ J.T, state)
    turned = weights @ J - J[1]  # task 2 is above its target and keeps its gradient
    assert float(turned @ J[1] / (turned.norm() * J[1].norm())) == pytest.approx(0.7)


def test_the_first_step_is_pcgrads() -> None:
    J = jacobian(0, 5)
    for seed in range(5):
        ours, theirs = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
        torch.testing.assert_close(GradVac()(J, generator=ours), PCGrad()(J, generator=theirs))


def test_targets_move_without_a_correction_too() -> None:
    # A public implementation averages only where it corrects, so that targets never rise from 0.
    J = jacobian(0, 3).abs()
    weights, state = GradVac(beta=0.5).step(J @ J.T, GradVac().init(3))
    torch.testing.assert_close(weights, torch.ones(3, dtype=torch.float64))
    cosines = J @ J.T / (J.norm(dim=1) * J.norm(dim=1)[:, None])
    torch.testing.assert_close(state["targets"], 0.5 * (cosines - torch.eye(3)))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3])
def test_parallel_gradients_for_a_long_time_then_a_conflict(angle: float) -> None:
    parallel = torch.tensor([[1.0, 0.0], [2 * math.cos(angle), 2 * math.sin(angle)]], dtype=torch.float64)
    method, state = GradVac(), GradVac().init(2)
    for _ in range(200):
        _, state = method.step(parallel @ parallel.T, state)
    conflict = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    weights, state = method.step(conflict @ conflict.T, state)
    assert bool(weights.isfinite().all())
    assert bool((state["targets"].abs() <= 1).all())


def test_a_zero_gradient_neither_corrects_nor_averages() -> None:
    J = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    targets = torch.full((3, 3), 0.2, dtype=torch.float64)
    weights, state = GradVac().step(J @ J.T, {"targets": targets}, generator=torch.Generator().manual_seed(0))
    assert float(weights[1]) == 1
    assert torch.equal(state["targets"][1], targets[1])
    assert torch.equal(state["targets"][:, 1], targets[:, 1])


def test_a_resumed_balancer_goes_on_as_if_never_stopped() -> None:
    def losses(p: Tensor, k: int) -> dict[str, Tensor]:
        a, b = jacobian(k, 2, 4)
        return {"a": (p - a).square().sum(), "b": (p - b).square().sum() * 3}

    def run(p: Tensor, balancer: Balancer, steps: range) -> None:
        for k in steps:
            p.grad = None
            balancer.backward(losses(p, k))
            p.data -= 0.05 * p.grad

    p = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    whole = Balancer(GradVac(), [p])
    run(p, whole, range(4))
    saved, kept = whole.state_dict(), p.detach().clone()
    run(p, whole, range(4, 8))
    q = kept.requires_grad_()
    fresh = Balancer(GradVac(), [q])
    fresh.load_state_dict(saved)
    run(q, fresh, range(4, 8))
    assert torch.equal(p, q)


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan")])
def test_beta_outside_its_range_is_named(beta: float) -> None:
    with pytest.raises(ValueError, match=r"beta.*\[0, 1\]"):
        GradVac(beta=beta)
