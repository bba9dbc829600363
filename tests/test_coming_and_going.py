"""Tasks that come and go over a training: one that joins late is as it is at a first step, and is never forgotten."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

import mtlgrad
from mtlgrad import (
    CRMOGM,
    DWA,
    FAMO,
    GH,
    IGB,
    MGDA,
    PCD,
    Balancer,
    Ema,
    Every,
    ExcessMTL,
    GradNorm,
    Normalised,
    ReLoBRaLo,
    SoftAdapt,
    catalog,
)
from mtlgrad.method import Method
from mtlgrad.presence import among_present, filled, powers

M = 4
NAMES = tuple("abcd")
METHODS: list[Method] = [
    *(
        method
        for entry in catalog.CATALOG.values()
        for method in entry.methods
        if method.traits.min_tasks == 1 and method.traits.max_tasks is None and not method.traits.needs_features
    ),
    Every(50, MGDA()),
    Every(3, GH()),
    Every(4, Ema(MGDA())),
    Ema(Every(2, MGDA())),
    Ema(MGDA(), beta=0.99),
    CRMOGM(MGDA(), alpha=0.99),
    Normalised(Ema(MGDA()), by="loss+"),
    DWA(window=3),
    IGB(window=3, base=0),
    ExcessMTL(warmup=4, eta=0.5),
    SoftAdapt(beta=1.0, variant="normalized"),
    ReLoBRaLo(alpha=0.5, memory=0.5),
]


def by_name(method: Method) -> str:
    return method.name


class Run:
    """A training on linear losses: `rows` are the gradients of the tasks, the losses whatever is asked for."""

    def __init__(self, method: Method, rows: Tensor | None = None, apply: Any = "shared") -> None:
        self.rows = torch.eye(M, dtype=torch.float64) if rows is None else rows
        self.w = torch.zeros(self.rows.shape[1], dtype=self.rows.dtype, requires_grad=True)
        names = NAMES[: len(self.rows)]
        self.balancer = Balancer(method, [self.w], tasks=names, apply=apply, seed=1)

    def step(self, present: Iterable[int], losses: Sequence[float] = (1.0,) * M) -> mtlgrad.StepRecord:
        self.w.grad = None
        return self.balancer.backward({NAMES[k]: self.rows[k] @ self.w + losses[k] for k in sorted(present)})

    def direction(self, present: Iterable[int], losses: Sequence[float] = (1.0,) * M) -> Tensor:
        """d in the basis of `rows`, if these are those of the unit matrix: what each task weighs."""
        self.step(present, losses)
        assert self.w.grad is not None
        return self.w.grad

    @property
    def state(self) -> dict[str, Tensor]:
        (state,) = self.balancer.state_dict()["states"]
        return state


# --------------------------------------------------------------------------- true of every method

batches = st.lists(st.sets(st.integers(0, M - 1), min_size=1), min_size=1, max_size=12)


@pytest.mark.parametrize("method", [m for m in METHODS if m.traits.stateful], ids=by_name)
@given(before=batches, all_first=st.booleans())
@settings(deadline=None, max_examples=8)
def test_whoever_came_before_all_tasks_count_in_the_end(
    method: Method, before: list[set[int]], all_first: bool
) -> None:
    """Gradients alike in length and at right angles, and losses alike: no reason to leave a task out."""
    run = Run(method)
    if all_first:
        run.step(range(M))
    for present in before:
        if set(method.of_task) and 0 not in present:  # the main task must be there
            present = {0, *present}
        weights = run.direction(present)
        assert weights.isfinite().all()
        assert (weights[sorted(present)] > 0).all(), "a task that is there counts"
        if method.traits.simplex:
            assert float(weights.sum()) == pytest.approx(1, abs=1e-9)
    weights = run.direction(range(M))
    assert weights.isfinite().all()
    assert (weights > 0).all()
    if method.traits.simplex:
        assert float(weights.sum()) == pytest.approx(1, abs=1e-9)
    if not all_first or not method.traits.permutation_equivariant or isinstance(method, ExcessMTL):
        return  # (ExcessMTL counts a gradient that comes again as progress: who was there more is further)
    for _ in range(20):
        weights = run.direction(range(M))
    assert float(weights.max() / weights.min()) < 3, "no task stays ahead for having been there when others were not"


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_a_task_alone_gets_its_own_gradient(method: Method) -> None:
    if method.of_task:
        return  # alone, the main task's; the others have no step
    rows = torch.randn(M, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).abs()
    run, losses = Run(method, rows), (1.0, 2.0, 0.5, 1.5)
    for k in range(9):
        run.step([j for j in range(M) if (k + j) % 3], losses)
    for k in (2, 0):
        if method.traits.needs_losses or not method.traits.stateful or method.traits.simplex:
            run.step([k], losses)
            assert run.w.grad is not None
            size = float(run.w.grad @ rows[k] / rows[k].square().sum())
            torch.testing.assert_close(run.w.grad, size * rows[k], rtol=1e-6, atol=1e-9)
            assert size > 0
            assert not method.traits.simplex or size == pytest.approx(1)


@pytest.mark.parametrize("method", [m for m in METHODS if m.traits.stateful], ids=by_name)
def test_with_tasks_of_their_own_batches_nothing_is_lost(method: Method) -> None:
    """Two groups that never meet, each of which might as well be alone, but for the clock that they share."""
    if method.of_task or method.traits.stochastic or isinstance(method, IGB | DWA | Every) or "Every" in method.name:
        return
    if "momentum" in method.init(2) or isinstance(method, mtlgrad.MConFIG | mtlgrad.DBMTL):
        return  # one momentum of the direction, or a schedule over the training: for all tasks
    rows = torch.randn(M, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    together, alone = Run(method, rows), Run(method, rows[:2])
    for k in range(12):
        losses = [2.0 + (j + 1) / (k + 1) for j in range(M)]
        if k == 0:  # shares of all tasks and of these start alike only once all were there
            together.step([0, 1], losses)
        else:
            together.step([2, 3], losses)
            together.step([0, 1], losses)
        alone.step([0, 1], losses)
        assert together.w.grad is not None
        assert alone.w.grad is not None
        torch.testing.assert_close(together.w.grad, alone.w.grad, rtol=1e-9, atol=1e-12)


# --------------------------------------------------------------------------- each method's own start


def pair(method: Method, seen: Sequence[str], losses: Sequence[float] = (1.0, 1.0), apply: Any = "shared") -> Tensor:
    """w at the last of the batches `seen`, of tasks a and b at right angles."""
    run = Run(method, torch.eye(2, dtype=torch.float64), apply)
    for present in seen:
        record = run.step(["ab".index(name) for name in present], losses)
    assert record.weights is not None
    return record.weights


@pytest.mark.parametrize("apply", ["shared", "loss"])
def test_weights_are_held_for_tasks_that_were_decided_about(apply: Any) -> None:
    run = Run(Every(2, MGDA()), torch.eye(2, dtype=torch.float64), apply)
    for k in range(8):
        record = run.step([k % 2])
        assert record.weights is not None
        assert record.weights[k % 2] == 1
    for k in (2, 10, 49):
        torch.testing.assert_close(pair(Every(50, MGDA()), ["a", *["ab"] * k], apply=apply), torch.ones(2).double() / 2)
    skewed = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    run = Run(Every(50, MGDA()), skewed, apply)
    run.step([0, 1])
    (alone,) = [run.step([1])]
    assert alone.weights is not None
    assert alone.weights[1] == pytest.approx(1)
    back = run.step([0, 1])
    assert back.weights is not None
    torch.testing.assert_close(back.weights, torch.tensor([0.9, 0.1], dtype=torch.float64))  # still the first decision


def test_a_decision_is_never_older_than_k_steps() -> None:
    """The tasks b and c are there at odd steps only, where k = 2 would never ask."""
    run, asked = Run(Every(2, MGDA())), []
    for k in range(9):
        record = run.step([0] if k % 2 == 0 else [1, 2])
        asked.append(not record.settled and record.gram is not None)
        decided = run.state["decided"]
        present = [0] if k % 2 == 0 else [1, 2]
        assert (k + 1 - decided[present] < 2).all()
    assert all(asked)


def test_a_base_or_an_epoch_that_ends_without_the_task() -> None:
    steps = ["ab" if k != 3 else "a" for k in range(40)]
    torch.testing.assert_close(pair(IGB(window=4, base=0), steps, (1.0, 50.0)), torch.tensor([1.0, 0.02]).double())
    for late in (["a"] * 9, ["a"] * 60):
        torch.testing.assert_close(
            pair(IGB(window=4), [*late, *["ab"] * 20], (1, 50)), torch.tensor([1, 0.02]).double()
        )
    for absent in (3, 7, 0, 4):
        for count in (9, 12, 13, 40):
            steps = ["ab" if k != absent else "a" for k in range(count)]
            torch.testing.assert_close(pair(DWA(window=4), steps), torch.ones(2).double())


def test_epochs_are_the_trainings_own() -> None:
    """A task that is there at every other step has half the losses in an epoch, of the same epoch."""
    run = Run(DWA(window=4, temperature=1.0), torch.eye(2, dtype=torch.float64))
    for k in range(9):
        now = (8.0, 4.0, 2.0)[k // 4]
        record = run.step([0, 1] if k % 2 == 0 else [0], (1.0, now))
    wanted = 2 * torch.tensor([1.0, 0.5], dtype=torch.float64).softmax(0)
    assert record.weights is not None
    torch.testing.assert_close(record.weights, wanted)


def test_the_first_loss_of_a_task_is_no_change() -> None:
    for method in (SoftAdapt(), SoftAdapt(variant="normalized"), SoftAdapt(beta=1.0)):
        torch.testing.assert_close(pair(method, ["a", "ab"], (1.0, 100.0)), torch.ones(2).double() / 2)
    method = ReLoBRaLo(alpha=0.5)
    torch.testing.assert_close(pair(method, ["a", "a", "ab"], (1.0, 100.0)), torch.ones(2).double())
    late, first = (pair(FAMO(), seen, (1.0, 100.0)) for seen in (["a"] * 30 + ["ab"] * 2, ["ab"] * 2))
    torch.testing.assert_close(late, first, rtol=1e-6, atol=1e-9)


def test_gradnorm_has_each_tasks_own_first_loss() -> None:
    found = []
    for late in (True, False):
        run = Run(GradNorm(lr=0.02), torch.eye(2, dtype=torch.float64))
        for k in range(600):
            present = [0] if late and k == 0 else [0, 1]
            record = run.step(present, (1.0, 5 * 0.9 ** (k / 20)))
        assert record.weights is not None
        found.append(record.weights)
        assert run.state["initial_losses"][1] == pytest.approx(5, rel=0.01)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0.05)


def test_moving_averages_are_corrected_task_by_task() -> None:
    run = Run(PCD(tau=0.1), torch.eye(2, dtype=torch.float64))
    for _ in range(300):
        run.step([0])
    torch.testing.assert_close(run.direction([0, 1]), torch.tensor([0.9950, 0.0995]).double(), rtol=1e-3, atol=0)
    torch.testing.assert_close(pair(Ema(MGDA()), [*["a"] * 200, "ab"]), torch.tensor([0.95, 0.5]).double() / 1.45)
    torch.testing.assert_close(pair(Ema(MGDA()), [*["a", "b"] * 50, "ab"]), torch.ones(2).double() / 2)


def test_absent_tasks_keep_their_share() -> None:
    rows = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    methods = (
        (CRMOGM(MGDA(), alpha=0.9), "weights"), (GradNorm(lr=0.01), "weights"), (ReLoBRaLo(alpha=0.9), "weights"),
    )  # fmt: skip
    for method, name in methods:
        run = Run(method, rows)
        for k in range(20):
            run.step(range(3), (1.0 / (1 + k), 1.0, 2.0))
        before = run.state[name].clone()
        for _ in range(30):
            run.step([0], (0.05, 1.0, 2.0))
        torch.testing.assert_close(run.state[name], before)
        for _ in range(30):
            run.step([0], (0.05, 1.0, 2.0))
            run.step([1, 2], (0.05, 1.0, 2.0))
        torch.testing.assert_close(run.state[name].sum(), before.sum())
    run = Run(ExcessMTL(eta=0.5), rows)
    for _ in range(9):
        run.step(range(3))

    def heights() -> Tensor:
        """log w of each task, where 0 is the mean weight of all."""
        return run.state["log_weights"] + run.state["among"].double().log()

    before = heights()
    for _ in range(30):
        run.step([0])
    torch.testing.assert_close(heights(), before)
    for _ in range(30):
        run.step([1, 2])
        run.step([0, 2])
        run.step([0])
    torch.testing.assert_close(heights().exp().sum(), before.exp().sum())


# --------------------------------------------------------------------------- states of another version


@pytest.mark.parametrize("method", [Ema(MGDA()), Every(3, MGDA()), DWA(window=2), PCD(), ExcessMTL()], ids=by_name)
def test_a_state_of_one_counter_for_all_tasks_is_refused_in_words(method: Method) -> None:
    run = Run(method)
    run.step(range(M))
    saved = copy.deepcopy(run.balancer.state_dict())
    (state,) = saved["states"]
    for name in ("decided", "count", "among"):
        state.pop(name, None)
    state["steps"] = torch.tensor(1)
    before = copy.deepcopy(run.balancer.state_dict())
    with pytest.raises(ValueError, match="another version of mtlgrad.*start the method anew"):
        run.balancer.load_state_dict(saved)
    torch.testing.assert_close(run.balancer.state_dict()["states"], before["states"])


# --------------------------------------------------------------------------- arithmetic


def test_weights_of_all_tasks_stay_to_the_last_bit() -> None:
    weights = torch.rand(7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(0)
    same, share = among_present(weights, 1.0)
    assert same is weights
    assert share == 1.0
    some, share = among_present(weights[:3], 1.0)
    torch.testing.assert_close(some * share, weights[:3])
    equal, share = among_present(torch.zeros(2), 2.0)
    assert (equal.tolist(), share) == ([1.0, 1.0], 0.0)


def test_what_is_not_known_is_the_mean_of_what_is() -> None:
    values = torch.tensor([1.0, 99.0, 3.0])
    assert filled(values, torch.tensor([True, False, True])).tolist() == [1.0, 2.0, 3.0]
    assert filled(values, torch.ones(3).bool()) is not values
    assert torch.equal(filled(values, torch.ones(3).bool()), values)
    assert filled(values, torch.zeros(3).bool()).tolist() == [0.0] * 3


@given(st.floats(0.01, 0.9999), st.integers(0, 10**5), st.sampled_from([1, 2, 7, 16, 33]))
@settings(deadline=None, max_examples=200)
def test_a_power_among_many_is_that_of_one_alone(base: float, count: int, m: int) -> None:
    for dtype in (torch.float32, torch.float64):
        alone = base ** torch.tensor(count).to(dtype)
        assert (powers(base, torch.full((m,), count), dtype) == alone).all()
