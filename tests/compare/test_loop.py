"""The loop against hand-written loops, its own uninterrupted runs, and things going wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

import mtlgrad
from mtlgrad.compare.checkpoints import CheckpointError, save_atomically
from mtlgrad.compare.history import Decisions, Evaluation, History, Sample
from mtlgrad.compare.loop import Event, train
from mtlgrad.compare.problem import Phase
from tests.compare.linear import Linear

DEVICE = torch.device("cpu")


def run(task: Linear, method: mtlgrad.Method | None = None, **changed: Any) -> History:
    options: dict[str, Any] = {"seed": 3, "steps": 12, "evaluate_every": 3, "diagnose_every": 2}
    return train(task, method or mtlgrad.GH(), **{**options, **changed})


def parameters(task: Linear) -> list[torch.Tensor]:
    return [p.detach().clone() for p in task.nets.parameters()]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def observed(history: History) -> dict[str, Any]:
    """All but the clock."""
    return {key: value for key, value in history.state_dict().items() if key != "step_ms"}


def test_sum_equals_a_plain_loop() -> None:
    task = Linear()
    run(task, mtlgrad.Sum(), diagnose_every=0)
    plain = Linear()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        plain.setup(seed=3, device=DEVICE)
        for index in range(12):
            for phase in plain.step(index):
                plain.nets.zero_grad()
                torch.stack(list(phase.losses.values())).sum().backward()
                for optimizer in phase.optimizers:
                    optimizer.step()
    for ours, theirs in zip(parameters(task), parameters(plain), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_seed_decides_and_the_callers_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = Linear(), Linear(), Linear()
    assert observed(run(first)) == observed(run(again))
    run(other, seed=4)
    assert same(parameters(first), parameters(again))
    assert not same(parameters(first), parameters(other))
    assert torch.equal(torch.get_rng_state(), before)


def test_measuring_does_not_change_training() -> None:
    measured, blind = Linear(), Linear()
    run(measured, mtlgrad.Sum(), diagnose_every=1)
    run(blind, mtlgrad.Sum(), diagnose_every=0)
    assert same(parameters(measured), parameters(blind))


class Strays(Linear):
    """Looks at the gradients of what its single-loss phase does not train."""

    def step(self, index: int) -> Iterator[Phase]:
        for phase in super().step(index):
            yield phase
            if phase.name == "warm":
                assert self.a.weight.grad is not None
                assert self.trunk.weight.grad is None or index > 0
                self.seen = self.trunk.weight.grad


def test_a_phase_leaves_no_gradient_outside_its_optimizers() -> None:
    task = Strays()
    run(task, steps=1)
    assert task.seen is None


class FrozenTrunk(Linear):
    """The pair is decided over the trunk, and only the heads are stepped (the Balancer writes to the trunk)."""

    def step(self, index: int) -> Iterator[Phase]:
        for phase in super().step(index):
            yield phase if phase.name == "warm" else replace(phase, optimizers=[self.heads], apply="loss")
            assert self.trunk.weight.grad is None

    def setup(self, *, seed: int, device: torch.device) -> None:
        super().setup(seed=seed, device=device)
        self.heads = torch.optim.SGD([*self.a.parameters(), *self.b.parameters()], lr=0.1)
        self.start = parameters(self)


def test_shared_parameters_outside_the_optimizers_are_read_and_not_moved() -> None:
    task = FrozenTrunk()
    history = run(task)
    assert history.decisions["pair"].measured == 6
    moved = [not torch.equal(a, b) for a, b in zip(task.start, parameters(task), strict=True)]
    assert moved == [False, False, True, True, True, True]


@pytest.mark.parametrize("method", [mtlgrad.GH(), mtlgrad.PCGrad(), mtlgrad.GradDrop(), mtlgrad.Sum()], ids=repr)
def test_resume_is_exact_to_the_bit(method: mtlgrad.Method, tmp_path: Path) -> None:
    straight = Linear()
    expected = run(straight, method)
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(RuntimeError, match="made to fail at step 7"):
        run(Linear(fail_at=7), method, checkpoint=path, checkpoint_every_s=0)
    resumed = Linear()
    steps: list[int] = []
    history = run(
        resumed, method, checkpoint=path, checkpoint_every_s=0, on_event=lambda event: steps.append(event.step)
    )
    assert steps == [8, 9, 10, 11, 12]
    assert same(parameters(straight), parameters(resumed))
    assert observed(history) == observed(expected)
    assert len(history.step_ms) == 12


def test_checkpoints_are_a_matter_of_time_not_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, saved = [0.0], []
    monkeypatch.setattr("mtlgrad.compare.loop.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "mtlgrad.compare.loop.save_atomically", lambda state, path: saved.append(state["history"]["steps"])
    )

    def work(index: int) -> None:
        now[0] += 100.0 if index == 8 else 2.0

    run(Linear(hook=work), checkpoint=tmp_path / "checkpoint.pt", checkpoint_every_s=6)
    assert saved == [3, 6, 9, 12]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_inside_a_step_waits_for_its_end_and_the_run_resumes(kind: signal.Signals, tmp_path: Path) -> None:
    straight = Linear()
    expected = run(straight)
    path = tmp_path / "checkpoint.pt"
    finished: list[int] = []

    def interrupt(index: int) -> None:
        if index == 4:
            os.kill(os.getpid(), kind)

    handler = signal.getsignal(kind)
    with pytest.raises(KeyboardInterrupt):
        run(Linear(hook=interrupt), checkpoint=path, on_event=lambda event: finished.append(event.step))
    assert finished[-1] == 5
    assert signal.getsignal(kind) is handler
    resumed = Linear()
    assert observed(run(resumed, checkpoint=path)) == observed(expected)
    assert same(parameters(straight), parameters(resumed))


def test_a_second_interrupt_does_not_wait() -> None:
    finished: list[int] = []

    def interrupt(index: int) -> None:
        if index == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(Linear(hook=interrupt), on_event=lambda event: finished.append(event.step))
    assert finished[-1] == 4


def test_an_ignored_interrupt_stays_ignored() -> None:
    def interrupt(index: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run(Linear(hook=interrupt)).status == "ok"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


def test_a_finished_checkpoint_trains_no_further(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    first = run(Linear(), checkpoint=path, checkpoint_every_s=0)
    assert observed(run(Linear(fail_at=0), checkpoint=path)) == observed(first)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    run(Linear(), checkpoint=path, checkpoint_every_s=0)
    for changed in ({"seed": 5}, {"steps": 13}, {"method": mtlgrad.Sum()}):
        with pytest.raises(ValueError, match="remove it"):
            run(Linear(), checkpoint=path, **changed)


def test_saving_is_atomic(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "checkpoint.pt"
    save_atomically({"x": 1}, path)
    with pytest.raises(AttributeError, match="local object"):
        save_atomically({"x": lambda: None}, path)
    assert torch.load(path, weights_only=True) == {"x": 1}
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint.pt"]


def test_divergence_stops_the_run_and_keeps_the_curve() -> None:
    task = Linear(poison_from=5)
    history = run(task, patience=4, steps=20)
    assert history.status == "diverged"
    assert history.reason == "step 9: a loss or gradient was not finite in 4 steps in a row"
    assert (history.steps, history.skipped) == (9, 4)
    assert [evaluation.step for evaluation in history.curve] == [3, 6]
    assert all(bool(p.isfinite().all()) for p in parameters(task))


def test_one_bad_step_is_skipped_and_forgotten() -> None:
    class Once(Linear):
        def step(self, index: int) -> Iterator[Phase]:
            self.poison_from = 0 if index == 4 else None
            yield from super().step(index)

    history = run(Once(), patience=2)
    assert (history.status, history.skipped) == ("ok", 1)


def test_parameters_that_are_not_finite_end_the_run_at_the_next_evaluation() -> None:
    class Broken(Linear):
        def step(self, index: int) -> Iterator[Phase]:
            if index == 4:
                with torch.no_grad():
                    self.b.bias.fill_(float("inf"))
            yield from super().step(index)

    history = run(Broken(), patience=100)
    assert (history.status, history.reason) == ("diverged", "step 6: a parameter is not finite")


def test_history_counts_conflicts_on_the_same_decisions_for_every_method() -> None:
    for method in (mtlgrad.Sum(), mtlgrad.GH(), mtlgrad.GradDrop()):
        decisions = run(Linear(), method).decisions["pair"]
        assert [sample.decision for sample in decisions.samples] == [0, 2, 4, 6, 8, 10]
        negative = [sample.inner_before is not None and sample.inner_before < 0 for sample in decisions.samples]
        assert decisions.conflicts_before == sum(negative) > 0
    harmonised = run(Linear(), mtlgrad.GH()).decisions["pair"]
    assert harmonised.conflicts_after == 0
    assert all(sample.inner_after is not None and sample.inner_after > -1e-6 for sample in harmonised.samples)


def test_best_follows_the_validation_score_and_never_the_metric() -> None:
    history = run(Linear())
    assert history.best is not None
    assert history.final is not None
    assert history.best.step == 6  # accuracy rises to the end, the validation score peaks at the second evaluation
    assert history.final.metrics["accuracy"] > history.best.metrics["accuracy"]


def test_samples_stay_even_and_bounded() -> None:
    decisions = Decisions(tasks=["a", "b"], limit=16)
    for k in range(1000):
        decisions.add(Sample(k, None, None, 0.0, None, None), before=k % 4 == 0, after=False)
    kept = [sample.decision for sample in decisions.samples]
    assert len(kept) <= 16
    assert len({b - a for a, b in pairwise(kept)}) == 1
    assert kept[-1] >= 1000 - decisions.stride
    assert (decisions.measured, decisions.conflicts_before) == (1000, 250)


def test_events_arrive_between_steps_with_their_evaluations() -> None:
    events: list[Event] = []
    run(Linear(), steps=7, on_event=events.append)
    assert [event.step for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.step for event in events if event.evaluation is not None] == [3, 6, 7]


@pytest.mark.parametrize("argument", ["evaluate_every", "steps", "patience", "checkpoint_every_s", "diagnose_every"])
def test_arguments_out_of_range_are_named(argument: str) -> None:
    with pytest.raises(ValueError, match=rf"{argument}=-1 is out of range; allowed: "):
        run(Linear(), **{argument: -1})
    with pytest.raises(TypeError, match=rf"{argument}='3' is a str; allowed: "):
        run(Linear(), **{argument: "3"})


def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"PK torn")
    with pytest.raises(CheckpointError, match=r"^checkpoint checkpoint.pt cannot be read \(\w+\): remove it$"):
        run(Linear(), checkpoint=path)


def test_several_losses_need_shared_parameters() -> None:
    class Bare(Linear):
        def step(self, index: int) -> Iterator[Phase]:
            for phase in super().step(index):
                yield replace(phase, shared=())

    with pytest.raises(ValueError, match="phase 'pair' has 2 losses and names no shared parameters"):
        run(Bare())


def test_a_phase_may_not_change_what_it_shares() -> None:
    class Fickle(Linear):
        def step(self, index: int) -> Iterator[Phase]:
            for phase in super().step(index):
                yield replace(phase, shared=phase.shared[: 1 + index % 2]) if len(phase.losses) > 1 else phase

    with pytest.raises(ValueError, match="phase 'pair' changed its shared parameters"):
        run(Fickle())


@pytest.fixture
def bf16() -> Iterator[Accelerator]:
    AcceleratorState._reset_state(True)
    yield Accelerator(cpu=True, mixed_precision="bf16")
    AcceleratorState._reset_state(True)


def test_bfloat16_autocast_reaches_the_task(bf16: Accelerator) -> None:
    class Watches(Linear):
        def step(self, index: int) -> Iterator[Phase]:
            self.dtype = self.trunk(torch.zeros(1, 4)).dtype
            yield from super().step(index)

    task = Watches()
    assert run(task, accelerator=bf16).status == "ok"
    assert task.dtype == torch.bfloat16
    assert task.trunk.weight.dtype == torch.float32


def test_trackers_get_metrics_and_cosines(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=tmp_path)
    accelerator.init_trackers("run")
    run(Linear(), accelerator=accelerator)
    accelerator.end_training()
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert {"accuracy", "norm", "pair/cosine_before", "pair/cosine_after"} <= set(events.Tags()["scalars"])
    assert [one.step for one in events.Scalars("accuracy")] == [3, 6, 9, 12]


class InfiniteSlope(Linear):
    """The warm-up loss is finite at step 2, and its gradient is not."""

    def step(self, index: int) -> Iterator[Phase]:
        for phase in super().step(index):
            if index == 2 and phase.name == "warm":
                root = (self.a.weight.sum() * 0).sqrt()
                yield Phase("warm", {"a": phase.losses["a"] + root}, phase.optimizers)
            else:
                yield phase


@pytest.mark.parametrize("method", [mtlgrad.Sum(), mtlgrad.GH()], ids=lambda m: m.name)
def test_an_infinite_gradient_of_a_finite_loss_is_skipped_for_every_method(method: mtlgrad.Method) -> None:
    history = run(InfiniteSlope(), method)
    assert (history.status, history.skipped) == ("ok", 1)


def test_the_best_evaluation_is_among_those_that_hold_the_main_metric() -> None:
    curve = [Evaluation(1, {"loss": 0.1}, 0.9), Evaluation(2, {"accuracy": 70.0}, 0.5), Evaluation(3, {}, 0.7)]
    best = History(total_steps=3, metric="accuracy", curve=curve).best
    assert best is not None
    assert best.step == 2
