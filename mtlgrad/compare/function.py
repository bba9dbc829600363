"""A problem that is a function of a method and a run: one's own training script, compared as it stands."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mtlgrad import Balancer, Method, StepRecord, catalog
from mtlgrad.compare.checkpoints import reading, save_atomically
from mtlgrad.compare.history import Decisions, Evaluation, History
from mtlgrad.compare.watched import Watched

DIAGNOSED_EVERY = 10
"""Of the decisions of a Balancer, every so many-th is measured and kept."""

Function = Callable[[Method, "FunctionRun"], Mapping[str, float]]


@dataclass
class FunctionRun:
    """What `train(method, run)` is given beside the method.

    Attributes
    ----------
    seed:
        Of this run. Torch's default generator was seeded with it before the function was called.
    options:
        The problem's options, from the suite or from `compare(options=...)`.
    device:
        Where to train: the accelerator if there is one.
    checkpoint:
        A path that survives an interrupt and is removed once the run has ended; `save` and `load` use it.
    """

    seed: int
    options: dict[str, Any]
    device: torch.device
    checkpoint: Path
    history: History
    told: Callable[[FunctionRun], None] = lambda run: None
    """Called when something was logged."""
    tracked: Callable[[Mapping[str, float], int], None] = lambda values, step: None
    """Gets what is logged."""
    _balancers: int = 0
    _decided: dict[str, int] = field(default_factory=dict, repr=False)
    """Decisions of each Balancer, over interrupts."""
    _last: float | None = field(default=None, repr=False)

    def balancer(self, method: Method | str, shared: Any = None, **others: Any) -> Balancer:
        """A `mtlgrad.Balancer` whose records are kept: conflicts, cosines and weights over time, the time of a step.

        Parameters
        ----------
        method, shared, others:
            As `mtlgrad.Balancer` takes them. Its seed is the run's where none is given; every tenth decision is
            measured (`diagnose_every`).

        >>> import mtlgrad, torch
        >>> run = FunctionRun(0, {}, torch.device("cpu"), Path("x.pt"), History(total_steps=1, metric="loss"))
        >>> trunk = torch.nn.Linear(2, 2)
        >>> balancer = run.balancer("gh", shared=trunk)
        >>> z = trunk(torch.ones(1, 2))
        >>> _ = balancer.backward({"a": z.square().sum(), "b": (z - 1).square().sum()})
        >>> run.history.measured
        1
        """
        self._balancers += 1
        name = "balancer" if self._balancers == 1 else f"balancer {self._balancers}"
        others.setdefault("diagnose_every", DIAGNOSED_EVERY)
        return _Kept(self, name, catalog.as_method(method), shared, seed=others.pop("seed", self.seed), **others)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics after `step` steps, for the curves; logging the same step again adds to it or replaces it."""
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise ValueError(f"step must be an int >= 0, got {step!r}")
        plain = _numbers("values", values)
        curve = self.history.curve
        if curve and step < curve[-1].step:
            raise ValueError(f"step={step} is before the last that was logged, {curve[-1].step}")
        if curve and step == curve[-1].step:
            curve[-1] = Evaluation(step, {**curve[-1].metrics, **plain}, curve[-1].validation_score)
        else:
            curve.append(Evaluation(step, plain, None))
        self.tracked(plain, step)
        self.told(self)

    def validation(self, value: float) -> None:
        """A score (higher is better) that sees no test label: tuning and the choice of a step go by it alone.

        It belongs to the step that was logged last; where nothing is logged, to the whole run.
        """
        score = _numbers("validation", {"value": value})["value"]
        curve = self.history.curve
        if not curve:
            curve.append(Evaluation(self.history.steps, {}, score))
        else:
            curve[-1] = Evaluation(curve[-1].step, curve[-1].metrics, score)

    def save(self, state: Any) -> None:
        """Put what is needed to go on (anything that torch.save takes), and what was logged, into `checkpoint`."""
        kept = {"state": state, "history": self.history.state_dict(), "decided": dict(self._decided)}
        kept["read"] = sorted(self.options.read) if isinstance(self.options, Watched) else []
        save_atomically(kept, self.checkpoint)

    def load(self) -> Any:
        """What `save` was last given before an interrupt; None where the run begins."""
        if not self.checkpoint.exists():
            return None
        with reading(self.checkpoint) as found:
            self.history.__dict__.update(History.from_state(found["history"]).__dict__)
            self._decided = dict(found["decided"])
            if isinstance(self.options, Watched):  # what was read before the interrupt was read
                self.options.read.update(found["read"])
            return found["state"]

    def keep(self, name: str, record: StepRecord) -> None:
        """Count a step of a Balancer; keep its record when it is its turn."""
        decision = self._decided.get(name, 0)
        self._decided[name] = decision + 1
        if name == "balancer":
            now = time.perf_counter()
            if self._last is not None:
                self.history.step_ms.append(1000 * (now - self._last))
            self._last = now
            self.history.steps += 1
        if decision % DIAGNOSED_EVERY == 0:
            self.history.decisions.setdefault(name, Decisions(list(record.tasks))).add_record(record, decision)
        if not bool(record.finite):
            self.history.skipped += 1


class _Kept(Balancer):
    """A Balancer that tells the run of its steps."""

    def __init__(self, run: FunctionRun, name: str, method: Method, shared: Any, **others: Any) -> None:
        super().__init__(method, shared, **others)
        self._run, self._name = run, name

    def backward(self, *arguments: Any, **others: Any) -> StepRecord:
        record = super().backward(*arguments, **others)
        self._run.keep(self._name, record)
        return record


def call(function: Function, method: Method, run: FunctionRun, metrics: Sequence[str] | None = None) -> History:
    """Call the function and put what it returned at the end of the history.

    Parameters
    ----------
    function:
        `train(method, run) -> {metric: value}`.
    method:
        What it is given.
    run:
        Fresh.
    metrics:
        The names that the function must return; None: any.

    Raises
    ------
    ValueError, TypeError
        It returned something else.
    """
    devices = [run.device] if run.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(run.seed)
        returned = function(method, run)
    name = getattr(function, "__name__", "the function")
    if not isinstance(returned, Mapping) or not returned:
        raise TypeError(f"{name} must return its metrics, a mapping of names to numbers, got {returned!r}")
    final = _numbers("metrics", returned)
    missing = [one for one in metrics or () if one not in final]
    if missing:
        raise ValueError(f"{name} returned {', '.join(final)}; metric {missing[0]!r} is missing")
    history = run.history
    history.metric = history.metric or next(iter(final))
    last = history.curve[-1] if history.curve else None
    step = max(history.steps, 0 if last is None else last.step)
    if last is not None and (last.step == step or not last.metrics):
        history.curve[-1] = Evaluation(step, {**last.metrics, **final}, last.validation_score)
    else:
        history.curve.append(Evaluation(step, final, None if last is None else last.validation_score))
    history.steps = step
    bad = [one for one in (metrics or [history.metric]) if not math.isfinite(final[one])]
    history.status = "diverged" if bad else "ok"
    history.reason = f"{bad[0]} is {final[bad[0]]}" if bad else ""
    return history


def _numbers(what: str, values: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(values, Mapping):
        raise TypeError(f"{what} must be a mapping of names to numbers, got {values!r}")
    found = {}
    for name, value in values.items():
        try:
            found[str(name)] = float(value.detach() if isinstance(value, torch.Tensor) else value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"{what}[{name!r}] must be a number, got {value!r}") from error
    return found
