"""A training run between two of its steps: the problem, its Balancers, what was observed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from mtlgrad import Balancer, Method
from mtlgrad.compare.checkpoints import CheckpointError, reading
from mtlgrad.compare.history import Decisions, Evaluation, History
from mtlgrad.compare.parts import averaged
from mtlgrad.compare.problem import Phase, Problem

VERSION = 1
"""Of the state."""


class Training:
    """A run between two steps: the problem, the Balancers and the history."""

    def __init__(
        self,
        problem: Problem,
        method: Method,
        seed: int,
        accelerator: Accelerator,
        total_steps: int,
        diagnose_every: int,
        patience: int,
    ) -> None:
        self.problem = problem
        self.method = method
        self.seed = seed
        self.accelerator = accelerator
        self.diagnose_every = diagnose_every
        self.patience = patience
        self.history = History(total_steps=total_steps, metric=problem.metric)
        self._balancers: dict[str, Balancer] = {}
        self._shared: dict[str, tuple[int, ...]] = {}
        self._decided: dict[str, int] = {}
        self._loaded: dict[str, Any] = {}  # states of Balancers that wait for their phase
        self._parameters: dict[int, nn.Parameter] = {}  # everything that was ever stepped
        self._missed = 0  # steps in a row with an update missing

    @property
    def finished(self) -> bool:
        return self.history.steps >= self.history.total_steps or self.history.status != "running"

    def step(self) -> None:
        """One training step: all of its phases."""
        skipped = self.history.skipped
        start = time.perf_counter()
        phases = self.problem.step(self.history.steps)
        while True:
            with self.accelerator.autocast():  # the problem computes its losses as it is resumed
                phase = next(phases, None)
            if phase is None:
                break
            self._update(phase)
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize(self.accelerator.device)
        self.history.step_ms.append(1000 * (time.perf_counter() - start))
        self.history.steps += 1
        self._missed = self._missed + 1 if self.history.skipped > skipped else 0
        if self._missed >= self.patience:
            self._diverge(f"a loss or gradient was not finite in {self._missed} steps in a row")

    def evaluate(self) -> Evaluation | None:
        """Evaluate, unless the parameters are beyond it; the last evaluation of all closes the run."""
        if not all(bool(p.isfinite().all()) for p in self._parameters.values()):
            self._diverge("a parameter is not finite")
        if self.history.status == "diverged":
            return None
        metrics = {name: float(value) for name, value in self.problem.evaluate().items()}
        if self.problem.metric not in metrics:
            raise ValueError(
                f"metric {self.problem.metric!r} of problem {self.problem.name!r} is not among {sorted(metrics)}"
            )
        evaluation = Evaluation(self.history.steps, metrics, self.problem.validation_score())
        self.history.curve.append(evaluation)
        self.accelerator.log(metrics, step=self.history.steps)
        if not math.isfinite(metrics[self.problem.metric]):
            self._diverge(f"{self.problem.metric} is {metrics[self.problem.metric]}")
        elif self.finished:
            self.history.status = "ok"
        return evaluation

    def _diverge(self, reason: str) -> None:
        self.history.status, self.history.reason = "diverged", f"step {self.history.steps}: {reason}"

    def _update(self, phase: Phase) -> None:
        """Gradients of one phase, and its optimizers' step."""
        own = _parameters_of(phase)
        self._parameters.update(own)
        for optimizer in phase.optimizers:
            optimizer.zero_grad()
        if len(phase.losses) == 1:
            (loss,) = phase.losses.values()
            # `inputs` keeps this phase from leaving gradients in networks that it does not train
            self.accelerator.backward(loss, inputs=list(own.values()))
            finite = bool(averaged(loss, own.values()).isfinite())
        else:
            finite = self._decide(phase, own)
        # The same question for every method, whether or not it looked at gradients itself.
        gradients = [p.grad for p in own.values() if p.grad is not None]
        if finite and all(bool(gradient.isfinite().all()) for gradient in gradients):
            for optimizer in phase.optimizers:
                optimizer.step()
        else:
            self.history.skipped += 1

    def _decide(self, phase: Phase, own: Mapping[int, nn.Parameter]) -> bool:
        """Several losses, through the phase's Balancer. Returns whether everything was finite."""
        record = self._balancer(phase, own).backward(phase.losses)
        for p in phase.shared:
            if id(p) not in own:  # the decision read it, this phase does not train it
                p.grad = None
        decision = self._decided.get(phase.name, 0)
        self._decided[phase.name] = decision + 1
        if self.diagnose_every and decision % self.diagnose_every == 0:
            decisions = self.history.decisions.setdefault(phase.name, Decisions(list(record.tasks)))
            measured = decisions.add_record(record, decision)
            if self.accelerator.log_with and measured is not None:
                values = {"cosine_before": measured.cosine_before, "cosine_after": measured.cosine_after}
                named = {f"{phase.name}/{key}": value for key, value in values.items() if value is not None}
                self.accelerator.log(named, step=self.history.steps)
        return bool(record.finite)

    def _balancer(self, phase: Phase, own: Mapping[int, nn.Parameter]) -> Balancer:
        outline = self.problem.outlines.get(phase.name)
        if outline is not None and (outline.losses, outline.groups) != (len(phase.losses), phase.groups):
            raise ValueError(
                f"phase {phase.name!r} has {len(phase.losses)} losses and groups={phase.groups!r}; the problem's "
                f"outlines say {outline.losses} and {outline.groups!r}"
            )
        shared = tuple(id(p) for p in phase.shared)
        if phase.name not in self._balancers:
            if not phase.shared:
                raise ValueError(f"phase {phase.name!r} has {len(phase.losses)} losses and names no shared parameters")
            balancer = Balancer(
                self.method,
                phase.shared,
                private=[p for key, p in own.items() if key not in set(shared)],
                tasks=list(phase.losses),
                apply=phase.apply,
                groups=phase.groups,
                seed=self.seed,
                diagnose_every=self.diagnose_every,
            )
            if phase.name in self._loaded:
                balancer.load_state_dict(self._loaded.pop(phase.name))
            self._balancers[phase.name], self._shared[phase.name] = balancer, shared
        if self._shared[phase.name] != shared:
            raise ValueError(f"phase {phase.name!r} changed its shared parameters; give the other phase its own name")
        return self._balancers[phase.name]

    def state_dict(self) -> dict[str, Any]:
        device = self.accelerator.device
        return {
            "version": VERSION,
            "method": self.method.name,
            "seed": self.seed,
            "name": self.problem.name,
            "problem": self.problem.state_dict(),
            "balancers": {**self._loaded, **{name: one.state_dict() for name, one in self._balancers.items()}},
            "decided": dict(self._decided),
            "missed": self._missed,
            "history": self.history.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        with reading(path) as state:
            self.load_state_dict(state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        history = History.from_state(state["history"]) if state.get("version") == VERSION else None
        names = ("version", "name", "method", "seed")
        found = (*(state.get(name) for name in names), history and history.total_steps)
        wanted = (VERSION, self.problem.name, self.method.name, self.seed, self.history.total_steps)
        if history is None or found != wanted:
            raise CheckpointError(
                f"checkpoint is of (version, problem, method, seed, steps) {found}, not {wanted}: remove it"
            )
        self.history = history
        self.problem.load_state_dict(state["problem"])
        self._loaded = dict(state["balancers"])
        self._decided = dict(state["decided"])
        self._missed = state["missed"]
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None and self.accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self.accelerator.device)


def _parameters_of(phase: Phase) -> dict[int, nn.Parameter]:
    """What the phase's optimizers step, by identity."""
    return {
        id(p): p
        for optimizer in phase.optimizers
        for group in optimizer.param_groups
        for p in group["params"]
        if p.requires_grad
    }
