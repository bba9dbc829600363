"""GradNorm: its weight update against automatic differentiation of the printed objective."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from mtlgrad import GradNorm, Sum
from mtlgrad.method import State
from mtlgrad.testing import jacobians


def run(method: GradNorm, grams: list[Tensor], losses: list[Tensor]) -> tuple[list[Tensor], State]:
    state, seen = method.init(len(losses[0])), []
    for G, L in zip(grams, losses, strict=True):
        weights, state = method.step(G, state, losses=L)
        seen.append(weights)
    return seen, state


@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0, 3))
@settings(deadline=None, max_examples=40)
def test_the_update_descends_on_the_printed_objective(seed: int, m: int, alpha: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    J = torch.randn(m, 9, dtype=torch.float64, generator=generator)
    first, now = torch.rand(2, m, dtype=torch.float64, generator=generator) + 0.1
    w = torch.rand(m, dtype=torch.float64, generator=generator)
    w = (w * m / w.sum()).requires_grad_()
    method = GradNorm(alpha=alpha, lr=1e-3)
    state = {"weights": w.detach(), "initial_losses": first, "started": torch.ones(m).bool()}
    used, new = method.step(J @ J.T, state, losses=now)

    lengths = w * J.norm(dim=1)
    rates = (now / first) / (now / first).mean()
    (lengths - (lengths.mean() * rates**alpha).detach()).abs().sum().backward()
    moved = w.detach() - 1e-3 * w.grad  # type: ignore[operator]
    torch.testing.assert_close(new["weights"], m * moved / moved.sum(), rtol=1e-9, atol=1e-12)
    assert torch.equal(used, w.detach())  # Algorithm 1 updates the network with the old weights
    assert torch.equal(new["initial_losses"], first)


def test_the_first_step_is_the_sum_and_keeps_its_losses() -> None:
    J, L = jacobians(4)["plain"], torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(GradNorm()(J, losses=L), Sum()(J))
    _, state = run(GradNorm(), [J @ J.T] * 3, [L, 2 * L, 3 * L])
    assert torch.equal(state["initial_losses"], L)


def test_lengths_even_out_when_all_tasks_train_alike() -> None:
    J = jacobians(3)["plain"] * torch.tensor([[1.0], [2.0], [4.0]]).double()
    L = torch.ones(3, dtype=torch.float64)
    seen, _ = run(GradNorm(alpha=1.5, lr=2e-4), [J @ J.T] * 1500, [L] * 1500)
    lengths = seen[-1] * J.norm(dim=1)
    torch.testing.assert_close(lengths, lengths.mean().expand(3), rtol=0.05, atol=0)
    assert float(seen[-1].sum()) == pytest.approx(3)


def test_the_slower_task_gets_the_longer_gradient() -> None:
    G = torch.eye(2, dtype=torch.float64)
    losses = [torch.tensor([1.0, 1.0]).double()] + [torch.tensor([0.9, 0.1]).double()] * 50
    seen, _ = run(GradNorm(lr=1e-3), [G] * 51, losses)
    assert float(seen[-1][0]) > 1 > float(seen[-1][1])


@pytest.mark.parametrize(
    "losses",
    [[0.0, 0.0], [0.0, 1.0], [-1.0, 2.0], [1e-300, 1e300], [-5.0, -5.0]],
)
@pytest.mark.parametrize("norm", [0.0, 1e-18, 1.0, 1e18])
def test_hard_losses_and_lengths_stay_finite_and_sum_to_m(losses: list[float], norm: float) -> None:
    G = norm**2 * torch.tensor([[1.0, -0.5], [-0.5, 4.0]], dtype=torch.float64)
    L = torch.tensor(losses, dtype=torch.float64)
    for sequence in ([L, L, L], [torch.ones(2).double(), L, L], [L, torch.ones(2).double(), L]):
        seen, state = run(GradNorm(), [G] * 3, sequence)
        for weights in [*seen, state["weights"]]:
            assert bool((weights >= 0).all())
            assert float(weights.sum()) == pytest.approx(2)


def test_a_weight_at_zero_comes_back() -> None:
    G = torch.eye(2, dtype=torch.float64)
    state = {
        "weights": torch.tensor([0.0, 2.0], dtype=torch.float64),
        "initial_losses": torch.ones(2, dtype=torch.float64),
        "started": torch.ones(2).bool(),
    }
    _, new = GradNorm().step(G, state, losses=torch.ones(2, dtype=torch.float64))
    assert float(new["weights"][0]) > 0


@pytest.mark.parametrize("argument", ["alpha", "lr"])
def test_bad_hyperparameters_are_named(argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be a number >= 0, got -1"):
        GradNorm(**{argument: -1})
