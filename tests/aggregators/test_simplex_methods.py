"""SDMGrad and MoDo: stochastic weights in the simplex, carried as state."""

from __future__ import annotations

import pytest
import torch

from mtlgrad import MGDA, Mean, MoDo, SDMGrad
from mtlgrad.solvers import min_norm_weights
from mtlgrad.testing import jacobians


def test_modo_one_step_is_the_projected_gradient_of_its_objective() -> None:
    J = jacobians(4)["plain"]
    G = J @ J.T
    before = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).requires_grad_()
    method = MoDo(gamma=0.02, rho=0.3)
    (before @ G @ before / 2 + 0.3 * before.square().sum() / 2).backward()
    target = before.detach() - 0.02 * before.grad  # type: ignore[operator]
    after, state = method.step(G, {"weights": before.detach()})
    # Optimality of a projection on the simplex: what is taken away is one number, or all there is.
    assert float(after.sum()) == pytest.approx(1)
    taken = target - after
    assert float((taken - taken[after > 0].mean()).abs()[after > 0].max()) <= 1e-12
    assert bool((target[after == 0] <= taken[after > 0].mean()).all())
    assert torch.equal(state["weights"], after)


def test_modo_converges_to_mgda_on_a_fixed_gramian() -> None:
    J = jacobians(5)["plain"]
    method, state = MoDo(gamma=0.01, rho=0.0), MoDo().init(5)
    for _ in range(3000):
        weights, state = method.step(J @ J.T, state)
    torch.testing.assert_close(weights, MGDA().weights(J @ J.T), rtol=0, atol=1e-6)


def test_modo_regularisation_pulls_to_uniform() -> None:
    state = {"weights": torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)}
    weights, _ = MoDo(gamma=0.1, rho=3.0).step(torch.zeros(3, 3, dtype=torch.float64), state)
    # (0.7, 0, 0), and the 0.3 that is missing is shared.
    torch.testing.assert_close(weights, torch.tensor([0.8, 0.1, 0.1], dtype=torch.float64))


def test_sdmgrad_with_enough_steps_solves_its_problem() -> None:
    J = jacobians(4)["plain"]
    for lam in (0.0, 0.3, 2.0):
        d = SDMGrad(lam=lam, lr=0.3, steps=3000)(J)
        # min |g_w + lam g_0| over the simplex is the min-norm point of the gradients moved by lam g_0.
        moved = J + lam * J.mean(0)
        w = torch.from_numpy(min_norm_weights((moved @ moved.T).numpy()))
        torch.testing.assert_close(d, w @ moved / (1 + lam), rtol=0, atol=1e-6)


def test_sdmgrad_tends_to_the_mean_with_lambda() -> None:
    J = jacobians(4)["plain"]
    torch.testing.assert_close(SDMGrad(lam=1e9)(J), Mean()(J), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1e12])
def test_sdmgrad_is_blind_to_units_over_several_steps(scale: float) -> None:
    # torchjd's absolute 1e-8 in the divisor freezes the weights for short gradients.
    method = SDMGrad()
    here, there = method.init(4), method.init(4)
    for seed in range(5):
        J = jacobians(4, seed=seed)["plain"]
        first, here = method.step(J @ J.T, here)
        second, there = method.step(scale**2 * J @ J.T, there)
        torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-9)


def test_sdmgrad_starts_from_the_last_weights() -> None:
    J = jacobians(4)["plain"]
    method = SDMGrad(lr=0.05, steps=1)
    first, state = method.step(J @ J.T, method.init(4))
    second, _ = method.step(J @ J.T, state)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: MoDo(gamma=-0.1), "gamma"),
        (lambda: MoDo(rho=float("inf")), "rho"),
        (lambda: SDMGrad(lam=-1), "lam"),
        (lambda: SDMGrad(momentum=1.5), r"momentum.*\[0, 1\]"),
        (lambda: SDMGrad(steps=0), "steps must be an int >= 1, got 0"),
    ],
)
def test_bad_hyperparameters_are_named(build: object, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        build()  # type: ignore[operator]
