"""The file that a run leaves: what was run, what came of it, where. Validated when written and when read."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from mtlgrad.compare.options import Options

SCHEMA_VERSION = 1

Status = Literal["ok", "diverged", "failed"]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Milliseconds = Annotated[float, Field(ge=0)]
Metrics = dict[str, float | None]
"""By name; None where a metric was not a finite number."""


def _no_path(value: str) -> str:
    if "/" in value.strip() or "\\" in value:
        raise ValueError("must name a class of machine, not a path")
    return value


class _Record(BaseModel):
    # JSON has neither NaN nor infinity: they are null in these files, and a float field refuses them
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, revalidate_instances="always"
    )


def formerly(name: str, old: str, **others: Any) -> Any:
    """A field that files from before a problem was called one have under its old name: they stay readable."""
    return Field(validation_alias=AliasChoices(name, old), **others)


class Identity(_Record):
    """What makes two runs the same run."""

    suite: str
    arm: str
    label: str
    problem: str = formerly("problem", "task")
    problem_options: Options = formerly("problem_options", "task_options")
    method: str
    method_args: Options
    seed: Count
    evaluate_every: Annotated[int, Field(ge=1)]

    @property
    def digest(self) -> str:
        """Of everything that the result depends on, names aside."""
        plain = self.model_dump(include=set(Identity.model_fields) - {"suite", "arm", "label"})
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


class MetricsAt(_Record):
    """Metrics at the end (`final`) and where the validation score was highest (`best`; it sees no target label)."""

    final: Metrics
    best: Metrics | None
    final_step: Count
    best_step: Count | None
    final_validation: float | None
    best_validation: float | None


class Conflicts(_Record):
    """Shares of measured decisions: two gradients in conflict before, the direction in conflict with one after."""

    before: Share | None
    after: Share | None
    measured: Count

    @model_validator(mode="after")
    def _measured(self) -> Conflicts:
        if (self.before is None) != (self.measured == 0):
            raise ValueError("conflicts.before is given exactly when something was measured")
        return self


class StepTime(_Record):
    """Of a training step, over the steps of the run."""

    median: Milliseconds
    q25: Milliseconds
    q75: Milliseconds
    steps: Count


class CurvePoint(_Record):
    step: Count
    metrics: Metrics
    validation: float | None


class Timeline(_Record):
    """The sampled decisions of one phase, averaged within equal stretches of the run."""

    decision: list[float]
    """The middle of each stretch."""
    cosines: list[list[float]]
    """[stretches][pairs]: of every two tasks' gradients, 1 with 2, 1 with 3, ..., 2 with 3, ..."""
    weights: list[list[float]] | None
    """[stretches][tasks]; None for a method without weights."""
    sum_opposed: Share | None
    """Share of the sampled decisions in which the plain sum would conflict with some task."""


class PhaseSamples(_Record):
    """Evenly spaced decisions of one phase. Lists run in parallel; None where the method does not define a value."""

    tasks: list[str]
    conflicts: Conflicts
    decision: list[Count]
    inner_before: list[float | None]
    inner_after: list[float | None]
    cosine_before: list[float]
    cosine_after: list[float | None]
    weights_mean: list[float] | None
    weights_std: list[float] | None
    timeline: Timeline | None = None

    @model_validator(mode="after")
    def _parallel(self) -> PhaseSamples:
        lengths = {
            name: len(getattr(self, name))
            for name in ("decision", "inner_before", "inner_after", "cosine_before", "cosine_after")
        }
        if len(set(lengths.values())) > 1:
            raise ValueError(f"lists must be equally long, got {lengths}")
        return self


class Versions(_Record):
    python: str
    torch: str
    numpy: str
    scipy: str
    accelerate: str
    mtlgrad: str
    commit: str | None
    """Of the repository, where there is one."""
    dirty: bool | None
    """Whether the tree differed from that commit."""
    code: str
    """Digest of the sources that a run executes."""

    @property
    def tree(self) -> str:
        """The commit in a few letters, and whether the tree differed from it."""
        changes = " with changes" if self.dirty else ""
        return "no commit" if self.commit is None else f"commit {self.commit[:10]}{changes}"


class Machine(_Record):
    """A class of machine, never a name or a path."""

    kind: Annotated[str, AfterValidator(_no_path)]
    cores: Annotated[int, Field(ge=1)]
    memory_gb: Annotated[float, Field(gt=0)]
    accelerator: Annotated[str, AfterValidator(_no_path)] | None


class Run(Identity):
    """One run: what was run, and what came of it."""

    schema_version: Literal[1] = 1
    all_problem_options: dict[str, Any] = formerly("all_problem_options", "all_task_options", default={})
    """`problem_options` with the problem's defaults put in; empty where the problem could not be made."""
    all_method_args: dict[str, Any] = {}
    """`method_args` with the method's defaults put in; a method inside is told by its repr."""
    options_read: list[str] | None = None
    """Of a problem that is a function: the options that it asked for. None: of a class, or not known."""
    method_code: str | None = None
    """Digest of the sources of a method of one's own; None for one of the catalog, whose code `versions` tells of."""
    status: Status
    reason: str
    """Why it diverged or failed; empty when ok."""
    metric: str
    """The main metric."""
    metrics: MetricsAt | None
    """None when nothing was evaluated."""
    conflicts: Conflicts
    step_ms: StepTime | None
    skipped_updates: Count
    curve: list[CurvePoint]
    phases: dict[str, PhaseSamples]
    exhibits: dict[str, Any]
    notes: list[str] = []
    """What went wrong beside the training itself."""
    versions: Versions
    machine: Machine
    threads: Annotated[int, Field(ge=1)]
    jobs: Annotated[int, Field(ge=1)]
    """Runs side by side at the time: step times of shared machines are to be read with care."""
    started: AwareDatetime
    finished: AwareDatetime

    @model_validator(mode="after")
    def _consistent(self) -> Run:
        if self.status == "ok" and (self.metrics is None or self.metrics.final.get(self.metric) is None):
            raise ValueError(f"a run with status 'ok' has a final {self.metric!r}")
        if self.status != "ok" and not self.reason:
            raise ValueError(f"a run with status {self.status!r} says why")
        if self.finished < self.started:
            raise ValueError("finished comes before started")
        return self


def write_run(run: Run, path: Path) -> None:
    """Validate and write atomically."""
    text = Run.model_validate(dict(run)).model_dump_json(indent=1) + "\n"
    write_atomically(text, path)


def read_run(path: Path) -> Run:
    """Read and validate; pydantic.ValidationError or ValueError when it is not a run file of this version."""
    return Run.model_validate_json(path.read_text(encoding="utf-8"))


def write_atomically(text: str, path: Path) -> None:
    """`path` holds the old text or the new one, whole, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def utc(moment: datetime) -> str:
    """As printed in tables and reports."""
    return moment.strftime("%Y-%m-%d %H:%M UTC")
