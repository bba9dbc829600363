"""Scalarizers: the weights are the gradient of the stated objective, and no loss makes them NaN."""

from __future__ import annotations

import math
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import example, given, settings
from torch import Tensor, nn

from mtlgrad import (
    COSMOS,
    DWA,
    DWL,
    FAMO,
    GLS,
    IGB,
    IMTLL,
    PBI,
    RLW,
    SILS,
    STCH,
    UW,
    UWSO,
    Balancer,
    ReLoBRaLo,
    Scalarizer,
    SoftAdapt,
    STCHSet,
    Tchebycheff,
)

positive_losses = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6)
any_loss = st.sampled_from([0.0, 5e-324, 1e-300, 1e-18, 1e-8, 1.0, 3.0, 1e18, 1e300])

OBJECTIVES: list[tuple[Scalarizer, Callable[[Tensor], Tensor]]] = [
    (GLS(), lambda L: L.log().mean().exp()),
    (SILS(), lambda L: L.log().sum()),
    (STCH(), lambda L: (L / len(L)).logsumexp(0)),
    (STCH(mu=0.3, ideal=0.7), lambda L: 0.3 * ((L - 0.7) / len(L) / 0.3).logsumexp(0)),
    (UW(log_variance=0.4), lambda L: (0.5 * math.exp(-0.4) * L + 0.2).sum()),
    (IMTLL(), lambda L: L.sum()),
    (IGB(window=1), lambda L: L.log().sum()),
    (Tchebycheff(ideal=0.5), lambda L: ((L - 0.5) / len(L)).max()),
    (PBI(theta=3.0), lambda L: _along(L) + 3.0 * _aside(L)),
    (COSMOS(lam=2.0), lambda L: L.mean() - 2.0 * L.sum() / len(L) ** 0.5 / L.norm()),
]
ALL = [
    *(UW(), IMTLL(), DWA(window=2), RLW(), GLS(), SILS(), FAMO(), STCH(), STCH(mu=1e-6), Tchebycheff(), UWSO()),
    *(SoftAdapt(), SoftAdapt(beta=-3.0, variant="normalized"), SoftAdapt(variant="loss"), UWSO(temperature=1e-3)),
    *(ReLoBRaLo(), ReLoBRaLo(memory=0.0, alpha=0.5), IGB(window=1, base=0), IGB(window=2)),
    STCHSet((1.0,), solutions=3),
]
LOGARITHMIC = [DWA(window=1), GLS(), SILS(), UWSO(), ReLoBRaLo(), IGB(window=1), SoftAdapt(variant="loss")]


def _along(L: Tensor) -> Tensor:
    return L.sum() / len(L) ** 0.5


def _aside(L: Tensor) -> Tensor:
    """The distance from the ray (1, ..., 1), with the gradient 0 on it."""
    aside = L - L.mean()
    on_ray = bool(aside.norm() <= 8 * torch.finfo(L.dtype).eps * L.abs().max())
    return 0 * L.sum() if on_ray else aside.norm()


def vector(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("method", "objective"), OBJECTIVES, ids=lambda v: getattr(v, "name", ""))
@given(positive_losses)
@settings(deadline=None, max_examples=40)
def test_weights_are_the_gradient_of_the_objective(
    method: Scalarizer, objective: Callable[[Tensor], Tensor], values: list[float]
) -> None:
    losses = vector(values).requires_grad_()
    (wanted,) = torch.autograd.grad(objective(losses), losses)
    torch.testing.assert_close(method.loss_weights(losses), wanted, rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize("method", ALL, ids=lambda m: m.name)
@given(st.lists(st.lists(any_loss, min_size=3, max_size=3), min_size=1, max_size=7))
@example([[0.0, 0.0, 5e-324]])
@settings(deadline=None, max_examples=60)
def test_zero_tiny_and_huge_losses_give_finite_weights(method: Scalarizer, history: list[list[float]]) -> None:
    state = method.init(3)
    for values in history:
        losses = vector(values)
        for dtype in (torch.float64, torch.float32):
            seen = losses.clamp(max=torch.finfo(dtype).max).to(dtype)
            weights, new = method.step(seen, state, generator=torch.Generator().manual_seed(0))
            assert weights.isfinite().all(), (values, weights)
            assert (weights >= 0).all()
        state = new
        assert all(value.isfinite().all() for value in state.values()), state


@pytest.mark.parametrize("method", LOGARITHMIC, ids=lambda m: m.name)
def test_a_negative_loss_is_refused_where_its_logarithm_or_rate_is_wanted(method: Scalarizer) -> None:
    with pytest.raises(ValueError, match=rf"{type(method).__name__} is defined for losses >= 0.*-2\.0"):
        method.loss_weights(vector([1.0, -2.0]))


@pytest.mark.parametrize("method", [UW(), IMTLL(), FAMO(), STCH(), RLW()], ids=lambda m: m.name)
def test_negative_losses_are_bounded_elsewhere(method: Scalarizer) -> None:
    state = method.init(2)
    for _ in range(200):
        weights, state = method.step(vector([-1e6, 2.0]), state, generator=torch.Generator().manual_seed(0))
        assert weights.isfinite().all()


def test_a_zero_loss_leaves_the_others_their_weights() -> None:
    assert SILS().loss_weights(vector([0.0, 2.0]))[1] == 0.5
    torch.testing.assert_close(GLS().loss_weights(vector([0.0, 0.0])), vector([0.5, 0.5]))
    assert GLS().loss_weights(vector([0.0, 2.0])).tolist() == pytest.approx([1e6 / 2, 1e-6 / 2])


@pytest.mark.parametrize(("method", "sign"), [(UW(lr=0.1), 1), (IMTLL(lr=0.1), -1)], ids=["UW", "IMTLL"])
def test_learned_weights_settle_where_weighted_losses_are_alike(method: Scalarizer, sign: int) -> None:
    losses, state = vector([0.2, 1.0, 7.0]), method.init(3)
    for _ in range(3000):
        weights, state = method.step(losses, state)
    torch.testing.assert_close(state["s"], sign * losses.log())
    torch.testing.assert_close(weights * losses, (weights * losses).mean().expand(3))


def test_uw_is_half_of_imtl_l_with_the_sign_turned() -> None:
    uw, imtl = UW(lr=0.2), IMTLL(lr=0.1)
    one, other = uw.init(3), imtl.init(3)
    for seed in range(20):
        losses = torch.rand(3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        half, one = uw.step(losses, one)
        whole, other = imtl.step(losses, other)
        torch.testing.assert_close(2 * half, whole)


def test_dwa_reads_the_means_of_the_last_two_whole_windows() -> None:
    method = DWA(window=3, temperature=1.5)
    history = torch.rand(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = method.init(2)
    for step, losses in enumerate(history):
        weights, state = method.step(losses, state)
        epoch = step // 3
        if epoch < 2:
            wanted = torch.ones(2, dtype=torch.float64)
        else:
            means = history.view(4, 3, 2).mean(1)
            wanted = 2 * (means[epoch - 1] / means[epoch - 2] / 1.5).softmax(0)
        torch.testing.assert_close(weights, wanted)


def test_rlw_is_exchangeable_and_normal_underneath() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([RLW().loss_weights(torch.ones(3).double(), generator=generator) for _ in range(4000)])
    differences = (draws[:, 0] / draws[:, 1]).log()  # of two independent standard normals
    assert abs(float(differences.mean())) < 5 * 2**0.5 / 4000**0.5
    assert float(differences.var()) == pytest.approx(2, rel=0.12)


def test_famo_gives_more_to_the_task_that_improved_less() -> None:
    method = FAMO()
    state = method.init(2)
    _, state = method.step(vector([1.0, 1.0]), state)
    weights, state = method.step(vector([0.5, 1.0]), state)
    z = state["logits"].softmax(0)
    assert z[1] > z[0]
    torch.testing.assert_close(weights, z / vector([0.5, 1.0]) / (z / vector([0.5, 1.0])).sum(), rtol=1e-6, atol=0)


def test_famo_at_or_below_its_floor_goes_on() -> None:
    method = FAMO(floor=(0.5, 0.0))
    state = method.init(2)
    for values in ([1.0, 1.0], [0.5, 1.0], [0.2, 0.9], [0.7, 0.8]):
        weights, state = method.step(vector(values), state)
        assert weights.isfinite().all()
        assert float(weights.sum()) == pytest.approx(1)
    assert all(value.isfinite().all() for value in state.values())


def test_stch_nears_the_maximum_and_the_weighted_sum() -> None:
    losses = vector([1.0, 1.5, 1.2])
    torch.testing.assert_close(STCH(mu=1e-4).loss_weights(losses), vector([0, 1 / 3, 0]))
    torch.testing.assert_close(STCH(mu=1e6).loss_weights(losses), vector([1 / 9] * 3), rtol=1e-6, atol=0)


def test_dwl_weight() -> None:
    losses = torch.ones(2, dtype=torch.float64)
    assert DWL(0.0, 1.0).loss_weights(losses).tolist() == [0.5, 0.5]
    assert DWL(1.0, 1.0).loss_weights(losses).tolist() == [1.0, 0.0]
    assert DWL(0.0, 0.2).loss_weights(losses).tolist() == [0.0, 1.0]


def test_constructor_errors() -> None:
    cases: list[tuple[str, Callable[[], object]]] = [
        ("lr must be a number > 0, got 0", lambda: UW(lr=0)),
        ("log_variance.*31", lambda: UW(log_variance=31)),
        ("window must be an int >= 1, got 0", lambda: DWA(window=0)),
        ("window must be an int >= 1, got 2.5", lambda: DWA(window=2.5)),  # type: ignore[arg-type]
        ("temperature.*-1", lambda: DWA(window=1, temperature=-1)),
        ("mu must be a number > 0, got 0", lambda: STCH(mu=0)),
        (r"preference\[1\].*> 0, got 0", lambda: STCH(preference=(1, 0))),
        ("one number per task", lambda: STCH(preference=(1.0, 2.0), ideal=(0.0,))),
        ("decay.*-1", lambda: FAMO(decay=-1)),
        (r"floor\[0\].*nan", lambda: FAMO(floor=(math.nan,))),
        ("floor.*none", lambda: FAMO(floor=())),
        ("alignment.*2", lambda: DWL(2, 0.5)),
    ]
    for words, call in cases:
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.parametrize("method", [UW(lr=0.5), IMTLL(), DWA(window=2), FAMO(), RLW()], ids=lambda m: m.name)
def test_a_resumed_balancer_goes_on_as_if_never_stopped(method: Scalarizer) -> None:
    w = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def step(balancer: Balancer, k: int) -> Tensor:
        w.grad = None
        balancer.backward({"a": (w - k).square().sum() + 0.1, "b": (w * 0.3 * k).square().sum()})
        assert w.grad is not None
        return w.grad.clone()

    whole = Balancer(method, [w], seed=3)
    first = [step(whole, k) for k in range(5)]
    saved = whole.state_dict()
    wanted = [step(whole, k) for k in range(5, 10)]
    fresh = Balancer(method, [w])
    fresh.load_state_dict(saved)
    assert all(torch.equal(step(fresh, k), one) for k, one in zip(range(5, 10), wanted, strict=True))
    assert len(first) == 5


def test_a_non_finite_loss_leaves_the_state_alone() -> None:
    w = nn.Parameter(torch.ones(3))
    balancer = Balancer(SILS(), [w])
    record = balancer.backward({"a": w.sum() * math.inf, "b": -w.sum()})
    assert not bool(record.finite)
    balancer = Balancer(FAMO(), [w])
    balancer.backward({"a": w.square().sum(), "b": w.sum()})
    before = {k: v.clone() for k, v in balancer.state_dict()["states"][0].items()}
    assert not bool(balancer.backward({"a": w.square().sum() * math.nan, "b": w.sum()}).finite)
    after = balancer.state_dict()["states"][0]
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_stch_set_is_the_gradient_of_its_objective() -> None:
    method = STCHSet((0.3, 0.5, 0.2), solutions=2, mu=0.4, ideal=(0.1, 0.0, -1.0))
    losses = torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    lowest = -0.4 * (-losses.view(2, 3) / 0.4).logsumexp(0)
    objective = 0.4 * (vector([0.3, 0.5, 0.2]) * (lowest - vector([0.1, 0.0, -1.0])) / 0.4).logsumexp(0)
    (wanted,) = torch.autograd.grad(objective, losses)
    torch.testing.assert_close(method.loss_weights(losses), wanted, rtol=1e-12, atol=0)


def test_tchebycheff_shares_a_tie_and_is_the_limit_of_stch() -> None:
    losses = vector([2.0, 1.0, 2.0])
    assert Tchebycheff(preference=(1.0, 2.0, 1.0)).loss_weights(losses).tolist() == pytest.approx([1 / 3, 2 / 3, 1 / 3])
    losses = vector([2.0, 1.9, 0.1])
    torch.testing.assert_close(STCH(mu=1e-3).loss_weights(losses), Tchebycheff().loss_weights(losses))


def test_relobralo_by_hand() -> None:
    """The recursion of the paper, written out in plain numbers with rho = 1 and with rho = 0."""
    history = [[1.0, 4.0], [0.5, 4.0], [0.25, 3.0]]
    for memory in (0.0, 1.0):
        method = ReLoBRaLo(alpha=0.7, temperature=0.5, memory=memory)
        state, before = method.init(2), [1.0, 1.0]
        for t, now in enumerate(history):
            weights, state = method.step(vector(now), state, generator=torch.Generator().manual_seed(t))
            if t:
                first, last = (
                    [math.exp(a / (0.5 * b)) for a, b in zip(now, then, strict=True)]
                    for then in (history[0], history[t - 1])
                )
                back = before if memory else [2 * one / sum(first) for one in first]
                before = [0.7 * a + 0.3 * 2 * b / sum(last) for a, b in zip(back, last, strict=True)]
            assert weights.tolist() == pytest.approx(before, rel=1e-12)


def test_softadapt_favours_what_rose_or_with_a_negative_beta_what_fell() -> None:
    for beta, worse in ((2.0, 1), (-2.0, 0)):
        for variant in ("plain", "normalized", "loss"):
            method = SoftAdapt(beta=beta, variant=variant)
            _, state = method.step(vector([1.0, 1.0]), method.init(2))
            weights, _ = method.step(vector([0.9, 1.1]), state)
            assert int(weights.argmax()) == worse
    method = SoftAdapt(beta=2.0)
    _, state = method.step(vector([1.0, 1.0]), method.init(2))
    weights, _ = method.step(vector([0.0, 1.0]), state)
    torch.testing.assert_close(weights, vector([-2.0, 0.0]).softmax(0))


def test_igb_takes_the_mean_of_its_base_epoch() -> None:
    method = IGB(window=2, base=1)
    state = method.init(2)
    for losses in ([9.0, 9.0], [9.0, 9.0], [1.0, 2.0], [3.0, 2.0]):
        weights, state = method.step(vector(losses), state)
        torch.testing.assert_close(weights, 1 / vector(losses))
    assert (state["sum"] / state["count"]).tolist() == [2.0, 2.0]
    weights, _ = method.step(vector([1.0, 2.0]), state)
    torch.testing.assert_close(weights, 2 * vector([0.5, 1.0]).softmax(0) / vector([1.0, 2.0]))


@pytest.mark.parametrize("make", [Tchebycheff, PBI, COSMOS, STCH])
def test_preferences_are_checked(make: Callable[..., Scalarizer]) -> None:
    for bad, error in (((-1.0, 1.0), ValueError), ((), ValueError), ("ab", TypeError), (("a",), TypeError)):
        with pytest.raises(error, match="preference"):
            make(preference=bad)
    assert make(preference=[1, 2]).traits.max_tasks == 2
    with pytest.raises(ValueError, match="exactly 2 tasks"):
        make(preference=(1.0, 2.0)).loss_weights(vector([1.0, 1.0, 1.0]))
