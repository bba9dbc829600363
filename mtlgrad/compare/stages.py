"""What has to be run next: tuning and controls depend on results, so that a comparison is made in rounds.

`unfold` is a function of the suite and the runs that are there, and gives the suite with every row that can be run by
now: trials, then what was chosen, then frozen twins and rows at equal time. Nothing else is remembered, so that an
interrupted comparison goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Protocol, TypeVar

from mtlgrad.compare.controls import NOISE_FLOOR, equal_time, frozen, tasks_of
from mtlgrad.compare.registry import make_method
from mtlgrad.compare.schema import Identity, Run
from mtlgrad.compare.suite import MethodRow, Suite
from mtlgrad.compare.tuning import Chosen, best_of, scores_of_trials, space_of, trials_of
from mtlgrad.scalarizers.fixed import Fixed, Mean, Sum
from mtlgrad.spaces import Simplex

TUNED = "{} (tuned)"
TRIAL = "{} (trial {})"
WEIGHTS = "tuned weights"
"""The control of constant weights, which exists tuned only."""


class _Job(Protocol):
    @property
    def identity(self) -> Identity: ...

    def finished(self) -> bool: ...


_J = TypeVar("_J", bound=_Job)


def rounds(
    suite: Suite, read: Callable[[], Iterable[Run]], jobs: Callable[[Suite], Sequence[_J]]
) -> Iterator[list[_J]]:
    """The jobs to be made now, again and again until none is left. What failed is not tried twice.

    Arguments: the suite as it is written; `read` gives the runs that are there, `jobs` all jobs of an unfolded suite.
    """
    tried: set[tuple[str, str, int, str]] = set()
    while True:
        todo = []
        for job in jobs(unfold(suite, list(read()))):
            key = (job.identity.arm, job.identity.label, job.identity.seed, job.identity.digest)
            if key not in tried and not job.finished():
                todo.append(job)
                tried.add(key)
        if not todo:
            return
        yield todo


def unfold(suite: Suite, runs: Sequence[Run]) -> Suite:
    """The suite with all rows that can be run, given these runs; those of other settings are passed over."""
    current = suite
    while True:
        found = _next(suite, [run for run in runs if belongs(run, current)])
        if found == current:
            return found
        current = found


def belongs(run: Run, suite: Suite) -> bool:
    """Whether the run is of this suite as it stands: same options, method and length; any seed."""
    cell = suite.cell(run.arm, run.label)
    return cell is not None and suite.identity(*cell, run.seed).digest == run.digest


def _next(suite: Suite, runs: Sequence[Run]) -> Suite:
    if suite.tuning is None and not suite.controls:
        return suite
    return _Stage(suite, runs).suite()


class _Stage:
    """One look at a suite and its runs."""

    def __init__(self, suite: Suite, runs: Sequence[Run]) -> None:
        self.declared = suite
        self._singles = "single task" in suite.controls
        self.by_cell: dict[tuple[str, str], list[Run]] = {}
        for run in runs:
            if run.status != "failed":
                self.by_cell.setdefault((run.arm, run.label), []).append(run)

    def suite(self) -> Suite:
        suite = self.declared
        rows = [*suite.methods, *self._plain_controls()]
        compared = rows
        baseline = suite.baseline
        if suite.tuning is not None:
            tuned = self._tuned([row for row in rows if self._is_tuned(row)])
            rows = [self._as_default(row) for row in rows if row.label not in self._made()]
            rows += tuned
            compared = [row for row in tuned if row.role != "trial"]
            if any(row.label == TUNED.format(baseline) for row in tuned):
                baseline = TUNED.format(baseline)
        late = self._late([row for row in compared if row.role == "method"], baseline)
        base = next(row for row in [*compared, *suite.methods] if row.label == baseline)
        if "noise floor" in suite.controls:  # in everything else it is the baseline, whatever was chosen for that
            update = {"label": "noise floor", "method": NOISE_FLOOR, "role": "control", "group": None}
            late.append(base.model_copy(update=update))
        return Suite.model_validate({**dict(suite), "methods": [*rows, *late], "baseline": baseline})

    def _is_tuned(self, row: MethodRow) -> bool:
        return row.group is None and (row.role in ("method", "control") or row.label in self._made())

    def _as_default(self, row: MethodRow) -> MethodRow:
        return row.model_copy(update={"role": "default"}) if self._is_tuned(row) else row

    def _made(self) -> list[str]:
        """The controls that exist tuned only, where there is tuning: they have no settings that anybody wrote."""
        return [WEIGHTS, *(row.label for row in self._single_tasks())] if self._singles else [WEIGHTS]

    def _plain_controls(self) -> list[MethodRow]:
        """Those that depend on no other result, but for the names of the tasks."""
        rows = []
        for control in self.declared.controls:
            if control == "random weights":
                rows.append(MethodRow(label=control, method="rlw", role="control"))
            elif control == "tuned weights":
                rows.append(MethodRow(label=control, method="fixed", role="control", **self._of_baseline()))
            elif control == "single task":
                rows += self._single_tasks()
        return rows

    def _of_baseline(self) -> dict[str, Any]:
        row = next(row for row in self.declared.methods if row.label == self.declared.baseline)
        return {"problem_options": row.problem_options}

    def _single_tasks(self) -> list[MethodRow]:
        tasks = self._tasks()
        return [
            MethodRow(
                label=f"only {name}"[:60],
                method="fixed",
                args={"weights": [float(k == i) for i in range(len(tasks))]},
                role="reference",
                **self._of_baseline(),
            )
            for k, name in enumerate(tasks or [])
        ]

    def _tasks(self) -> list[str]:
        return tasks_of(list(chain.from_iterable(self.by_cell.values()))) or []

    def _tuned(self, rows: Sequence[MethodRow]) -> list[MethodRow]:
        """The trials of every row, and the row with what was chosen, in the arms in which all trials have ended."""
        tuning = self.declared.tuning
        assert tuning is not None
        found = []
        m = len(self._tasks())
        for row in rows:
            if m == 0 and any(isinstance(space, Simplex) for space in space_of(row.method, row.args).values()):
                continue  # how many weights there are, a first run will tell
            trials = trials_of(tuning, row.method, row.args, m)
            labels = [TRIAL.format(row.label, k + 1) for k in range(len(trials))]
            found += [self._trial(row, label, one) for label, one in zip(labels, trials, strict=True)]
            chosen = {arm.name: one for arm in self.declared.arms if (one := self._chosen(arm.name, labels, trials))}
            if chosen:
                label = row.label if row.label in self._made() else TUNED.format(row.label)
                update = {"label": label, "chosen": chosen}
                found.append(row.model_copy(update=update))
        return found

    def _trial(self, row: MethodRow, label: str, settings: Chosen) -> MethodRow:
        assert self.declared.tuning is not None
        update = {
            "label": label,
            "role": "trial",
            "seeds": self.declared.tuning.seeds,
            "args": settings.args,
            "problem_options": {**row.problem_options, **settings.options},
        }
        return row.model_copy(update=update)

    def _chosen(self, arm: str, labels: Sequence[str], trials: Sequence[Chosen]) -> Chosen | None:
        assert self.declared.tuning is not None
        runs = [self._finished(arm, label, self.declared.tuning.seeds) for label in labels]
        if any(one is None for one in runs):
            return None
        best = best_of(scores_of_trials([one for one in runs if one is not None]))
        return None if best is None else trials[best]

    def _late(self, rows: Sequence[MethodRow], baseline: str) -> list[MethodRow]:
        """Rows made from the finished runs of other rows."""
        found = []
        for row in rows:
            if row.label == baseline:
                continue
            if "frozen" in self.declared.controls and not _is_constant(row):
                chosen = self._from_runs(row, lambda runs, arm: frozen(runs))
                if chosen:
                    found.append(
                        MethodRow(
                            label=f"frozen {row.label}"[:60],
                            method="fixed",
                            problem_options=row.problem_options,
                            role="control",
                            against=row.label,
                            chosen=chosen,
                        )
                    )
            if "equal time" in self.declared.controls:
                chosen = self._from_runs(row, lambda runs, arm: equal_time(runs, self.by_cell.get((arm, baseline), [])))
                if chosen:
                    found.append(
                        row.model_copy(
                            update={"label": f"{row.label} (equal time)"[:60], "role": "control", "chosen": chosen}
                        )
                    )
        return found

    def _from_runs(self, row: MethodRow, make: Callable[[list[Run], str], Chosen | None]) -> dict[str, Chosen]:
        """By arm, what `make` makes of the row's runs, once all seeds are there; beside what was chosen for the row."""
        found = {}
        for arm in self.declared.arms:
            runs = self._finished(arm.name, row.label, row.seeds or self.declared.seeds)
            made = None if runs is None else make(runs, arm.name)
            if made is not None:
                known = row.chosen.get(arm.name, Chosen())
                args = made.args or known.args
                found[arm.name] = Chosen(args=args, options={**known.options, **made.options})
        return found

    def _finished(self, arm: str, label: str, seeds: Sequence[int]) -> list[Run] | None:
        """The runs of a cell, in the order of the seeds; None unless all are there."""
        runs = {run.seed: run for run in self.by_cell.get((arm, label), [])}
        return [runs[seed] for seed in seeds] if all(seed in runs for seed in seeds) else None


def _is_constant(row: MethodRow) -> bool:
    """Whether the row's weights are the same in every step, so that a frozen twin would be the same run again."""
    chosen = next((one.args for one in row.chosen.values() if one.args), {})
    return isinstance(make_method(row.method, {**row.args, **chosen}), Sum | Mean | Fixed)
