"""MoCo, ExcessMTL, DB-MTL, M-ConFIG, AND-mask and the trimmed mean against their equations, step by step."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.stats import trim_mean
from torch import Tensor, nn

from mtlgrad import DBMTL, MGDA, ANDMask, Balancer, ConFIG, ExcessMTL, JacobianAggregator, MConFIG, MoCo, TrimmedMean
from mtlgrad.solvers import project_onto_simplex

STATEFUL = [MoCo(), ExcessMTL(eta=0.5), DBMTL(), MConFIG()]


def jacobian(seed: int, m: int = 3, n: int = 10) -> Tensor:
    return torch.randn(m, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def run(method: JacobianAggregator, steps: list[Tensor], losses: Tensor | None = None) -> list[Tensor]:
    state, seen = method.init_like(steps[0]), []
    for J in steps:
        direction, state = method.step(J, state, losses=losses)
        seen.append(direction)
    return seen


def test_moco_step_by_step() -> None:
    steps = [jacobian(seed) for seed in range(8)]
    Y, lam = np.zeros((3, 10)), np.full(3, 1 / 3)
    for J, got in zip(steps, run(MoCo(beta=0.3, gamma=0.2, rho=0.05), steps), strict=True):
        Y = Y - 0.3 * (Y - J.numpy())
        lam = project_onto_simplex(lam - 0.2 * (Y @ Y.T + 0.05 * np.eye(3)) @ lam)
        np.testing.assert_allclose(got, Y.T @ lam, rtol=1e-10, atol=1e-12)


def test_moco_tends_to_the_min_norm_point() -> None:
    J = jacobian(0)
    got = run(MoCo(beta=0.5, gamma=0.05, rho=0.0), [J] * 400)[-1]
    torch.testing.assert_close(got, MGDA()(J), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("warmup", [1, 3])
def test_excessmtl_step_by_step(warmup: int) -> None:
    steps = [jacobian(seed) for seed in range(8)]
    squares, start, w = torch.zeros(3, 10).double(), torch.zeros(3).double(), torch.full((3,), 1 / 3).double()
    for t, (J, got) in enumerate(zip(steps, run(ExcessMTL(eta=0.7, warmup=warmup), steps), strict=True)):
        squares += J**2
        excess = (J**2 / (squares + 1e-7).sqrt()).sum(1)
        if t < warmup:
            start += excess / warmup
        else:
            w = w * (0.7 * excess / start).exp()
            w /= w.sum()
        torch.testing.assert_close(got, w @ J)


def test_dbmtl_step_by_step() -> None:
    steps, losses = [jacobian(seed) for seed in range(6)], torch.tensor([0.1, 2.0, 30.0]).double()
    smoothed = torch.zeros(3, 10).double()
    for t, (J, got) in enumerate(zip(steps, run(DBMTL(beta=0.8, sigma=0.5), steps, losses), strict=True), start=1):
        beta = 0.8 / t**0.5
        smoothed = beta * smoothed + (1 - beta) * J / losses[:, None]
        norms = smoothed.norm(dim=1)
        torch.testing.assert_close(got, (norms.max() / norms) @ smoothed)


def test_dbmtl_does_not_notice_the_unit_of_a_loss() -> None:
    J, units = jacobian(0), torch.tensor([1e-4, 1.0, 1e4]).double()
    one = DBMTL()(J, losses=torch.ones(3).double())
    torch.testing.assert_close(DBMTL()(units[:, None] * J, losses=units), one)


def test_mconfig_step_by_step() -> None:
    """The stand-in gradient written as in the paper: what Adam's first moment would have needed to see."""
    steps = [jacobian(seed) for seed in range(6)]
    M, before, v = torch.zeros(3, 10).double(), torch.zeros(10).double(), torch.zeros(10).double()
    for t, (J, got) in enumerate(zip(steps, run(MConFIG(), steps), strict=True), start=1):
        M = 0.9 * M + 0.1 * J
        common = ConFIG()(M / (1 - 0.9**t))
        moment = common * (1 - 0.9**t)
        stand_in = (moment - 0.9 * before) / 0.1
        before, v = moment, 0.999 * v + 0.001 * stand_in**2
        torch.testing.assert_close(got, common / ((v / (1 - 0.999**t)).sqrt() + 1e-8))


def test_mconfig_with_one_task_is_adam() -> None:
    w = nn.Parameter(torch.zeros(10, dtype=torch.float64))
    adam = torch.optim.Adam([w], lr=1.0)
    steps = [jacobian(seed, m=1) for seed in range(6)]
    for J, got in zip(steps, run(MConFIG(), steps), strict=True):
        before = w.detach().clone()
        w.grad = J[0].clone()
        adam.step()
        torch.testing.assert_close(before - w.detach(), got)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", STATEFUL, ids=lambda m: m.name)
@pytest.mark.parametrize("scale", [1e-18, 1e18])
def test_long_runs_at_any_scale_stay_finite(method: JacobianAggregator, scale: float, dtype: torch.dtype) -> None:
    steps = [(scale * jacobian(seed % 7)).to(dtype) for seed in range(30)]
    steps[3] = torch.zeros_like(steps[3])
    state = method.init_like(steps[0])
    for J in steps:
        direction, state = method.step(J, state, losses=torch.tensor([0.0, 1.0, 2.0]))
        assert direction.isfinite().all()
        assert direction.dtype == dtype
        assert all(value.isfinite().all() for value in state.values())


@pytest.mark.parametrize("method", STATEFUL, ids=lambda m: m.name)
def test_state_starts_at_zero_in_at_least_single_precision(method: JacobianAggregator) -> None:
    state = method.init_like(jacobian(0).to(torch.bfloat16))
    wide = [value for value in state.values() if value.ndim and value.shape[-1] == 10]
    assert wide
    assert all(value.dtype == torch.float32 and not value.any() for value in wide)


@pytest.mark.parametrize("method", STATEFUL, ids=lambda m: m.name)
def test_a_resumed_balancer_goes_on_as_if_never_stopped(method: JacobianAggregator) -> None:
    w = nn.Parameter(torch.ones(4, dtype=torch.float64))

    def step(balancer: Balancer, k: int) -> Tensor:
        w.grad = None
        balancer.backward({"a": (w - k).square().sum() + 0.1, "b": (w[1:] * 0.3 * k + 1).square().sum()})
        assert w.grad is not None
        return w.grad.clone()

    whole = Balancer(method, [w])
    for k in range(4):
        step(whole, k)
    saved = whole.state_dict()
    wanted = [step(whole, k) for k in range(4, 8)]
    fresh = Balancer(method, [w])
    fresh.load_state_dict(saved)
    assert all(torch.equal(step(fresh, k), one) for k, one in zip(range(4, 8), wanted, strict=True))


@given(st.integers(1, 6), st.integers(0, 20), st.integers(0, 10_000))
@settings(deadline=None, max_examples=60)
def test_andmask_coordinate_by_coordinate(m: int, twentieths: int, seed: int) -> None:
    J = jacobian(seed, m).round(decimals=0)  # zeros among them
    got = ANDMask(threshold=twentieths / 20)(J)
    for k in range(J.shape[1]):
        votes = abs(sum((v > 0) - (v < 0) for v in J[:, k].tolist()))
        wanted = float(J[:, k].mean()) if 20 * votes >= twentieths * m else 0.0  # in whole numbers
        assert float(got[k]) == pytest.approx(wanted)


def test_andmask_threshold_is_met_exactly() -> None:
    J = torch.tensor([[1.0], [1.0], [1.0], [1.0], [-1.0]])  # 3 of 5
    assert float(ANDMask(threshold=0.6)(J)) == pytest.approx(0.6)
    assert float(ANDMask(threshold=0.61)(J)) == 0


@given(st.integers(0, 3), st.integers(0, 4), st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_trimmed_mean_is_scipys(k: int, extra: int, seed: int) -> None:
    m = 2 * k + 1 + extra
    J = jacobian(seed, m).round(decimals=1)  # ties among them
    np.testing.assert_allclose(TrimmedMean(trim=k)(J), trim_mean(J.numpy(), k / m + 1e-9, axis=0), atol=1e-12)


def test_trimmed_mean_is_deaf_to_k_outliers() -> None:
    J = jacobian(0, m=5)
    loud = J.clone()
    loud[1], loud[4] = 1e18, -1e18
    assert float(TrimmedMean(trim=2)(loud).abs().max()) <= float(J.abs().max())


def test_constructor_errors() -> None:
    cases: list[tuple[str, Callable[[], object]]] = [
        ("beta.*2", lambda: MoCo(beta=2)),
        ("gamma.*-1", lambda: MoCo(gamma=-1)),
        ("eta.*-1", lambda: ExcessMTL(eta=-1)),
        ("warmup must be an int >= 1, got 0", lambda: ExcessMTL(warmup=0)),
        (r"beta.*\[0, 1\), got 1", lambda: DBMTL(beta=1)),
        (r"beta2.*\[0, 1\), got 1", lambda: MConFIG(beta2=1)),
        ("threshold.*1.5", lambda: ANDMask(threshold=1.5)),
        ("trim must be an int >= 0, got -1", lambda: TrimmedMean(trim=-1)),
    ]
    for words, call in cases:
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(ValueError, match="DBMTL is defined for losses >= 0"):
        DBMTL()(jacobian(0), losses=torch.tensor([1.0, -1.0, 1.0]))
