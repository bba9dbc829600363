"""What a training run leaves behind: its curve, its conflicts, its step times."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from mtlgrad import StepRecord
from mtlgrad.diagnostics import CONFLICT_COSINE

Status = Literal["running", "ok", "diverged"]

SAMPLES = 1024
"""Samples kept per phase: a histogram needs no more, and a result file stays small."""


@dataclass(frozen=True)
class Evaluation:
    """The metrics after `step` training steps."""

    step: int
    metrics: dict[str, float]
    validation_score: float | None
    """What may choose a checkpoint; None where the problem has none."""


@dataclass(frozen=True)
class Sample:
    """One measured decision. Inner products are those of two tasks; None for another number, or where undefined."""

    decision: int
    """Which decision of its phase this was, from 0."""
    inner_before: float | None
    """g1 . g2."""
    inner_after: float | None
    """g~1 . g~2, for a method that harmonises each gradient."""
    cosine_before: float
    """The smallest cosine between two tasks' gradients."""
    cosine_after: float | None
    """The smallest cosine between the direction and a task's gradient."""
    weights: list[float] | None
    cosines: list[float] = field(default_factory=list)
    """Of every two tasks' gradients: 1 with 2, 1 with 3, ..., 2 with 3, ..."""
    sum_opposes: bool | None = None
    """Whether the plain sum would conflict with some task."""


@dataclass
class Decisions:
    """The measured decisions of one phase: exact counts, and evenly spaced samples in bounded memory.

    >>> decisions = Decisions(tasks=["a", "b"], limit=4)
    >>> for k in range(20):
    ...     decisions.add(Sample(k, -1.0, 0.0, -0.5, 0.0, None), before=True, after=False)
    >>> decisions.measured, decisions.conflicts_before, [sample.decision for sample in decisions.samples]
    (20, 20, [0, 8, 16])
    """

    tasks: list[str]
    limit: int = SAMPLES
    measured: int = 0
    conflicts_before: int = 0
    conflicts_after: int = 0
    stride: int = 1
    samples: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample, *, before: bool, after: bool) -> None:
        """Count the decision; keep its sample when its turn comes."""
        if self.measured % self.stride == 0:
            self.samples.append(sample)
            if len(self.samples) > self.limit:  # every second one goes, and so it stays even
                self.samples = self.samples[::2]
                self.stride *= 2
        self.measured += 1
        self.conflicts_before += before
        self.conflicts_after += after

    def add_record(self, record: StepRecord, decision: int) -> Sample | None:
        """Read a record that holds a Gramian; one that is not finite tells nothing and is passed over."""
        if record.gram is None or not bool(record.finite):
            return None
        values = record.to_dict()
        cosines = record.cosines
        assert cosines is not None
        m = len(record.tasks)
        pairs = cosines[torch.triu_indices(m, m, offset=1).unbind()]
        aligned = values["direction_cosines"]
        sample = Sample(
            decision=decision,
            inner_before=values["inner_before"],
            inner_after=values["inner_after"],
            cosine_before=float(pairs.min()) if m > 1 else 1.0,
            cosine_after=None if aligned is None else min(aligned),
            weights=None if values["weights"] is None or record.groups else values["weights"],
            cosines=[float(cosine) for cosine in pairs],
            sum_opposes=_sum_opposes(record.gram),
        )
        self.add(sample, before=bool(values["conflicts_before"]), after=bool(values["conflicts_after"]))
        return sample


def _sum_opposes(gram: torch.Tensor) -> bool | None:
    """Whether g_1 + ... + g_m has a negative cosine with some g_i; None for one decision in several groups.

    >>> _sum_opposes(torch.tensor([[1.0, -2.0], [-2.0, 9.0]])), _sum_opposes(torch.eye(2))
    (True, False)
    """
    if gram.ndim != 2:
        return None
    inner = gram.double().sum(1)
    lengths = gram.double().diagonal().clamp(min=0).sqrt() * inner.sum().clamp(min=0).sqrt()
    return bool((inner < CONFLICT_COSINE * lengths).any())


@dataclass
class History:
    """Everything the loop observed."""

    total_steps: int
    metric: str
    """The problem's main metric."""
    status: Status = "running"
    reason: str = ""
    """Why, when diverged."""
    steps: int = 0
    """Training steps done."""
    skipped: int = 0
    """Updates not made because a loss or gradient was not finite."""
    curve: list[Evaluation] = field(default_factory=list)
    decisions: dict[str, Decisions] = field(default_factory=dict)
    """By phase, for the phases with several losses."""
    notes: list[str] = field(default_factory=list)
    """What went wrong beside the training itself."""
    step_ms: list[float] = field(default_factory=list)
    """Of every step, data and all phases included, evaluation not."""

    @property
    def final(self) -> Evaluation | None:
        """The last evaluation."""
        return self.curve[-1] if self.curve else None

    @property
    def best(self) -> Evaluation | None:
        """The (first) evaluation with the highest validation score, of those that hold the main metric.

        No other number has a say. A script may log what it likes on the way, and a step without the main metric can
        tell nothing of it.
        """
        scored = [
            (one.validation_score, one)
            for one in self.curve
            if one.validation_score is not None and math.isfinite(one.validation_score) and self.metric in one.metrics
        ]
        return max(scored, key=lambda pair: pair[0])[1] if scored else None

    @property
    def measured(self) -> int:
        """Measured decisions in all phases."""
        return sum(one.measured for one in self.decisions.values())

    @property
    def conflict_share_before(self) -> float | None:
        """Share of measured decisions in which two tasks' gradients conflict; None when none was measured."""
        return self._share("conflicts_before")

    @property
    def conflict_share_after(self) -> float | None:
        """Share of measured decisions whose direction conflicts with some task."""
        return self._share("conflicts_after")

    def _share(self, count: str) -> float | None:
        return sum(getattr(one, count) for one in self.decisions.values()) / self.measured if self.measured else None

    def step_ms_quartiles(self) -> tuple[float, float, float] | None:
        """Lower quartile, median and upper quartile of the step time; None before the first step."""
        if not self.step_ms:
            return None
        low, middle, high = np.quantile(self.step_ms, [0.25, 0.5, 0.75]).tolist()
        return low, middle, high

    def state_dict(self) -> dict[str, Any]:
        """Plain values only, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> History:
        """Undo `state_dict`."""
        plain = dict(state)
        plain["curve"] = [Evaluation(**one) for one in plain["curve"]]
        plain["decisions"] = {
            name: Decisions(**{**one, "samples": [Sample(**sample) for sample in one["samples"]]})
            for name, one in plain["decisions"].items()
        }
        return cls(**plain)
