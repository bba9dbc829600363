"""A folder of runs, read back: what tables and reports are made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from mtlgrad.compare.metrics import Metric, metrics_of
from mtlgrad.compare.rows import Row, rows
from mtlgrad.compare.schema import Machine, Run, Versions, read_run, write_atomically
from mtlgrad.compare.scores import with_verdicts
from mtlgrad.compare.stages import belongs, unfold
from mtlgrad.compare.suite import Arm, Suite, SuiteError, explain

SUITE_FILE = "suite.json"


@dataclass(frozen=True)
class Results:
    """The runs of one suite that belong to it as it stands."""

    suite: Suite
    runs: tuple[Run, ...]
    ignored: int
    """Result files that could not be read, or are of other settings."""
    rows: dict[str, list[Row]]
    """By arm."""
    trials: tuple[Run, ...] = ()
    """The runs that tuned: on seeds of their own, in no table."""

    @property
    def title(self) -> str:
        """Of the comparison; its name where the suite gives none."""
        return self.suite.title or self.suite.name

    @property
    def metric(self) -> str:
        """The main metric, the first that is judged: tables and bars are made of it."""
        return next(iter(self.metrics), "metric")

    @property
    def metrics(self) -> dict[str, Metric]:
        """What is judged."""
        return metrics_of(self.suite.metrics, self.runs)

    @property
    def arms(self) -> list[Arm]:
        """Those with runs."""
        return [arm for arm in self.suite.arms if self.rows[arm.name]]

    @property
    def versions(self) -> list[Versions]:
        return list(dict.fromkeys(run.versions for run in self.runs))

    @property
    def machines(self) -> list[Machine]:
        return list(dict.fromkeys(run.machine for run in self.runs))

    @property
    def several_codes(self) -> bool:
        """Whether runs that belong together were made by more than one version of the code."""
        problem = {run.versions.code for run in self.runs}
        methods = {(run.label, run.method_code) for run in self.runs}
        return len(problem) > 1 or len(methods) > len({label for label, _ in methods})

    def machine_text(self, machine: Machine) -> str:
        """A machine and how it was used, in a sentence."""
        used = [run for run in self.runs if run.machine == machine]
        side_by_side = sorted({run.jobs for run in used})
        threads = sorted({run.threads for run in used})
        extra = "" if machine.accelerator is None else f", {machine.accelerator}"
        return (
            f"{machine.kind}, {machine.memory_gb:.0f} GB{extra}; {_numbers(side_by_side)} at a time, "
            f"{_numbers(threads)} thread{'s' * (threads != [1])} each."
        )


def _numbers(values: Sequence[int]) -> str:
    return " or ".join(map(str, values))


def save_suite(suite: Suite, folder: Path) -> None:
    """Put the suite beside its runs, so that a report can be made from the folder alone."""
    write_atomically(suite.model_dump_json(indent=1) + "\n", folder / SUITE_FILE)


def load_results(folder: Path, suite: Suite | None = None) -> Results:
    """Read a folder of results; SuiteError where there are none."""
    if suite is None:
        path = folder / SUITE_FILE
        try:
            suite = Suite.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SuiteError(f"{folder} holds no {SUITE_FILE}: not a folder of results") from error
        except ValidationError as error:
            raise SuiteError(f"{SUITE_FILE}: {explain(error)}") from error
    there = list(read_runs(folder))
    suite = unfold(suite, [run for run in there if run is not None])
    runs, ignored = [], 0
    for run in there:
        cell = None if run is None else suite.cell(run.arm, run.label)
        if run is not None and cell is not None and belongs(run, suite):
            runs.append(run.model_copy(update={"label": cell[1].label}))  # as the suite writes it now
        else:
            ignored += 1
    if not runs:
        raise SuiteError(f"{folder} holds no results of suite {suite.name!r}")
    tries = {row.label for row in suite.methods if row.role == "trial"}
    trials = tuple(run for run in runs if run.label in tries)
    runs = [run for run in runs if run.label not in tries]
    return Results(suite, tuple(runs), ignored, with_verdicts(suite, rows(suite, runs), runs), trials)


def read_runs(folder: Path) -> Iterator[Run | None]:
    """The runs of a folder by file name; None for a file that cannot be read."""
    for path in sorted((folder / "runs").glob("*.json")):
        try:
            yield read_run(path)
        except (OSError, ValueError):  # pydantic's ValidationError is a ValueError
            yield None


def of_other_settings(folder: Path, suite: Suite) -> int:
    """How many finished runs the suite may not replace unasked: of its cells with other settings, or of another suite.

    A folder is of another suite if none of its runs belongs. Where some do, runs of other arms and labels are those of
    rows that were taken out.
    """
    finished = [run for run in read_runs(folder) if run is not None and run.status != "failed"]
    suite = unfold(suite, finished)
    others = [run for run in finished if not belongs(run, suite)]
    if len(others) == len(finished):
        return len(others)
    return sum(suite.cell(run.arm, run.label) is not None for run in others)
