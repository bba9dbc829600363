"""What one step looked like: the record that `Balancer.backward` returns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator, HarmonizingAggregator
from mtlgrad.method import Method

CONFLICT_COSINE = -1e-6
"""Two gradients, or a direction and a gradient, conflict when their cosine is below this: rounding is no conflict."""


def cosines(gram: Tensor) -> Tensor:
    """Cosine of the angle between each pair of gradients [m, m], from G [m, m]; 0 where a gradient is zero.

    >>> cosines(torch.tensor([[1.0, -1.0], [-1.0, 4.0]]))[0, 1].item()
    -0.5
    """
    norms = gram.diagonal().clamp(min=0).sqrt()
    inverse = torch.where(norms > 0, 1 / norms.clamp(min=torch.finfo(norms.dtype).tiny), 0)
    return (gram * inverse[:, None] * inverse[None, :]).clamp(-1, 1)


@dataclass(frozen=True, repr=False)
class StepRecord:
    """One step of the Balancer. Tensors stay where they were computed until somebody reads them.

    With m tasks and, where the Balancer has `groups`, k groups of parameters. What was not measured is None: a
    method that reads losses only has no Gramian except on the steps that `diagnose_every` picks. A task that had no
    loss has NaN in its place everywhere.
    """

    tasks: tuple[str, ...]
    """Task names, in the order of every vector and matrix here."""
    losses: Tensor
    """[m]; the sum over micro-batches."""
    finite: Tensor
    """bool []; False: a loss or a shared gradient was not finite, the method was not asked and its state did not move.

    `.grad` got the plain sum: not finite either, so that a GradScaler skips the step, unless only the value of a loss
    was not (one that became infinite by a constant still has its gradient).
    """
    gram: Tensor | None = None
    """G = J J^T [m, m], over all shared parameters (or the features)."""
    weights: Tensor | None = None
    """w [m], or [k, m] with groups; None for a method that has none."""
    alignment: Tensor | None = None
    """J d [m]: the rate at which the direction lowers each loss."""
    direction_norm: Tensor | None = None
    """|d| []."""
    groups: tuple[str, ...] = ()
    """Names of the parameter groups, when the Balancer decides per group."""
    method: Method | None = None
    """The method that was asked: for the tasks that are present."""
    settled: bool = False
    """The weights were known before the gradients: the method was not asked about these (`Every`, in between)."""
    present: tuple[str, ...] = ()
    """Names of the tasks that had a loss, in order: all of them, unless some were absent from the batch."""

    def __post_init__(self) -> None:
        if not self.present:
            object.__setattr__(self, "present", self.tasks)

    @property
    def norms(self) -> Tensor | None:
        """|g_i| [m]."""
        return None if self.gram is None else self.gram.diagonal().clamp(min=0).sqrt()

    @property
    def cosines(self) -> Tensor | None:
        """Cosines between the tasks' gradients [m, m]."""
        return None if self.gram is None else cosines(self.gram)

    @property
    def direction_cosines(self) -> Tensor | None:
        """cos(d, g_i) [m]; 0 where either vanishes."""
        if self.alignment is None or self.norms is None or self.direction_norm is None:
            return None
        scale = self.norms * self.direction_norm
        tiny = torch.finfo(scale.dtype).tiny
        return torch.where(scale > 0, self.alignment / scale.clamp(min=tiny), 0).clamp(-1, 1)

    @property
    def conflicts_before(self) -> Tensor | None:
        """bool []: some pair of gradients has a negative inner product."""
        return None if self.gram is None else (cosines(self.gram) < CONFLICT_COSINE).any()

    @property
    def conflicts_after(self) -> Tensor | None:
        """bool []: the direction has a negative inner product with some task's gradient."""
        found = self.direction_cosines
        return None if found is None else (found < CONFLICT_COSINE).any()

    @property
    def inner_before(self) -> Tensor | None:
        """g1 . g2 [], for two tasks."""
        return None if self.gram is None or len(self.tasks) != 2 or self.absent else self.gram[0, 1]

    @property
    def inner_after(self) -> Tensor | None:
        """g~1 . g~2 [], for two tasks and a method that harmonises each task's gradient before summing.

        NaN on a step that was not finite: the method was not asked.
        """
        if self.gram is None or len(self.tasks) != 2 or self.groups or self.absent:
            return None
        if not isinstance(self.method, HarmonizingAggregator):
            return None
        seen = self._seen(self.gram)
        parts = self.method.parts(seen)
        return torch.where(self.finite, (parts @ seen @ parts.T)[0, 1], torch.nan)

    @property
    def fell_back(self) -> Tensor | None:
        """bool []: the method's definition had no answer at this Gramian and its documented substitute was taken.

        Asked for again here, which repeats part of the decision. False on a step whose weights were settled before.
        None for a method that does not read the Gramian, and with groups, whose own Gramians are not kept.
        """
        if self.gram is None or self.groups or not isinstance(self.method, GramAggregator):
            return None
        return self.method.fell_back(self._seen(self.gram)) & (self.finite & (not self.settled))

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of the tasks that had no loss."""
        return tuple(name for name in self.tasks if name not in self.present)

    def _seen(self, gram: Tensor) -> Tensor:
        """G of the present tasks, or where the step was not finite something harmless: the method was not asked."""
        if self.absent:
            rows = torch.tensor([self.tasks.index(name) for name in self.present], device=gram.device)
            gram = gram[rows[:, None], rows]
        return torch.where(self.finite, gram, torch.eye(len(gram), dtype=gram.dtype, device=gram.device))

    def __repr__(self) -> str:
        """What one wants to see at a glance; reads the tensors, and so waits for the device."""
        losses = ", ".join(f"{name} {value:.4g}" for name, value in zip(self.tasks, self.losses.tolist(), strict=True))
        told = [f"losses: {losses}"]
        if self.absent:
            told.append(f"absent: {', '.join(self.absent)}")
        if self.weights is not None and not self.groups:
            told.append("weights: " + ", ".join(f"{value:.4g}" for value in self.weights.tolist()))
        before, after = self.conflicts_before, self.conflicts_after
        if before is not None and after is not None:
            told.append(f"conflicts: {'yes' if before else 'no'} -> {'yes' if after else 'no'}")
        if not bool(self.finite):
            told.append("not finite")
        return f"StepRecord({'; '.join(told)})"

    def scalars(self) -> dict[str, float]:
        """Flat names to floats, as any logger takes them. Reads every tensor, so it waits for the device.

        "loss/a", "weight/a" (with groups "weight/GROUP/a"), "norm/a", "alignment/a" and "direction_cosine/a" for each
        task a that was present, "cosine/a/b" for each pair, "direction_norm", and as 0 or 1 "finite",
        "conflicts_before", "conflicts_after" and "fell_back". What was not measured has no entry.

        >>> import mtlgrad
        >>> w = torch.ones(2, requires_grad=True)
        >>> step = mtlgrad.Balancer("gh", shared=[w]).backward({"a": w[0] + w[1], "b": w[1] - w[0]})
        >>> {name: step.scalars()[name] for name in ("loss/a", "cosine/a/b", "conflicts_before")}
        {'loss/a': 2.0, 'cosine/a/b': 0.0, 'conflicts_before': 0.0}
        """
        here = [(k, name) for k, name in enumerate(self.tasks) if name in self.present]
        found: dict[str, float] = {}
        for label, vector in (
            ("loss", self.losses),
            ("weight", None if self.groups else self.weights),
            ("norm", self.norms),
            ("alignment", self.alignment),
            ("direction_cosine", self.direction_cosines),
        ):
            if vector is not None:
                values = vector.tolist()
                found |= {f"{label}/{name}": float(values[k]) for k, name in here}
        if self.groups and self.weights is not None:
            for group, row in zip(self.groups, self.weights.tolist(), strict=True):
                found |= {f"weight/{group}/{name}": float(row[k]) for k, name in here}
        if self.cosines is not None:
            rows = self.cosines.tolist()
            found |= {f"cosine/{a}/{b}": float(rows[i][j]) for i, a in here for j, b in here if i < j}
        for label in ("direction_norm", "finite", "conflicts_before", "conflicts_after", "fell_back"):
            value = getattr(self, label)
            if value is not None:
                found[label] = float(value)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain floats, lists and None, for a log or a JSON file. Reads every tensor, so it waits for the device."""
        names = (
            "losses finite gram weights alignment direction_norm norms cosines direction_cosines "
            "conflicts_before conflicts_after inner_before inner_after fell_back"
        )
        values = {name: getattr(self, name) for name in names.split()}
        plain = {name: None if value is None else _json(value.tolist()) for name, value in values.items()}
        return {"tasks": list(self.tasks), "present": list(self.present), "groups": list(self.groups), **plain}


def _json(value: Any) -> Any:
    """Lists and numbers with None for what JSON has no number for."""
    if isinstance(value, list):
        return [_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
