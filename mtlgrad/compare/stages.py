"""Which rows a suite has by now: tuning and controls depend on results, so that a comparison is made in rounds.

`unfold` is a function of the suite and the runs that are there, and gives the suite with every row that can be run by
now: trials, then what was chosen, then frozen twins and rows at equal time. Nothing else is remembered, so that an
interrupted comparison goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from pydantic import ValidationError

from mtlgrad import catalog
from mtlgrad.compare.controls import NOISE_FLOOR, equal_time, frozen, tasks_of
from mtlgrad.compare.labels import TRIAL, TUNED, WEIGHTS, alone, at_equal_time, frozen_twin
from mtlgrad.compare.schema import Run
from mtlgrad.compare.suite import MethodRow, Suite, SuiteError, explain
from mtlgrad.compare.tuning import Chosen, best_of, scores_of_trials, space_of, trials_of
from mtlgrad.scalarizers.fixed import Fixed, Mean, Sum
from mtlgrad.spaces import Simplex


def unfold(suite: Suite, runs: Sequence[Run], seeds: Sequence[int] | None = None) -> Suite:
    """The suite with all rows that can be run, given these runs; those of other settings are passed over.

    Parameters
    ----------
    suite:
        As it is written, or with other seeds.
    runs:
        That are there, failed ones among them.
    seeds:
        From the runs of which rows such as frozen twins are made: those of the suite as it is written, whatever seeds
        are asked for now, so that more seeds of a row are runs of the same settings. None: the seeds of `suite`.

    Raises
    ------
    SuiteError
        A row cannot be made.
    """
    current = suite
    try:
        while True:
            found = _next(suite, [run for run in runs if belongs(run, current)], seeds or suite.seeds)
            if found == current:
                return found
            current = found
    except ValidationError as error:
        raise SuiteError(explain(error)) from error
    except (TypeError, ValueError) as error:
        raise SuiteError(str(error)) from error


def belongs(run: Run, suite: Suite) -> bool:
    """Whether the run is of this suite as it stands: same options, method and length; any seed."""
    cell = suite.cell(run.arm, run.label)
    return cell is not None and suite.identity(*cell, run.seed).digest == run.digest


def _next(suite: Suite, runs: Sequence[Run], seeds: Sequence[int]) -> Suite:
    if suite.tuning is None and not suite.controls:
        return suite
    return _Stage(suite, runs, seeds).suite()


class _Stage:
    """One look at a suite and its runs."""

    def __init__(self, suite: Suite, runs: Sequence[Run], seeds: Sequence[int]) -> None:
        self.declared = suite
        self.seeds = seeds
        self._singles = "single task" in suite.controls
        self.attempted: dict[tuple[str, str], dict[int, Run]] = {}
        """By arm and label, then by seed: what ended, and what failed."""
        for run in runs:
            self.attempted.setdefault((run.arm, run.label), {})[run.seed] = run

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
            baseline = TUNED.format(baseline)  # even before it is there: nothing is judged against an untuned one
        base = next((row for row in compared if row.label == baseline), None)
        late = [] if base is None else self._late([row for row in compared if row.role == "method"], base)
        if "noise floor" in suite.controls and base is not None:
            # in everything else it is the baseline, whatever was chosen for that
            update = {"label": "noise floor", "method": NOISE_FLOOR, "role": "control", "group": None}
            late.append(base.model_copy(update=update))
        return Suite.model_validate({**dict(suite), "methods": [*rows, *late], "baseline": baseline})

    def _is_tuned(self, row: MethodRow) -> bool:
        return self.declared.is_tuned(row) or row.label in self._made()

    def _as_default(self, row: MethodRow) -> MethodRow:
        return row.model_copy(update={"role": "default"}) if self._is_tuned(row) else row

    def _made(self) -> list[str]:
        """The controls that exist tuned only, where there is tuning: they have no settings that anybody wrote."""
        return [WEIGHTS, *(row.label for row in self._single_tasks())] if self._singles else [WEIGHTS]

    def _plain_controls(self) -> list[MethodRow]:
        """Those that depend on no other result, but for the names of the tasks."""
        rows = []
        for control in dict.fromkeys(self.declared.controls):
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
                label=alone(name),
                method="fixed",
                args={"weights": [float(k == i) for i in range(len(tasks))]},
                role="reference",
                **self._of_baseline(),
            )
            for k, name in enumerate(tasks or [])
        ]

    def _tasks(self) -> list[str]:
        runs = chain.from_iterable(cell.values() for cell in self.attempted.values())
        return tasks_of([run for run in runs if run.status != "failed"]) or []

    def _tuned(self, rows: Sequence[MethodRow]) -> list[MethodRow]:
        """The trials of every row, and the row with what was chosen, in the arms in which all trials were made."""
        tuning = self.declared.tuning
        assert tuning is not None
        found = []
        m = len(self._tasks())
        tuned = {row.label: TUNED.format(row.label) for row in rows if row.label not in self._made()}
        for row in rows:
            trials = self._trials(row, m)
            if trials is None:
                continue
            labels = [TRIAL.format(row.label, k + 1) for k in range(tuning.trials)]
            found += [self._trial(row, label, {arm: some[k] for arm, some in trials.items()})
                      for k, label in enumerate(labels)]  # fmt: skip
            chosen = {arm: one for arm, some in trials.items() if (one := self._chosen(arm, labels, some))}
            if chosen:
                against = None if row.against is None else tuned.get(row.against, row.against)
                update = {
                    "label": tuned.get(row.label, row.label), "chosen": chosen, "against": against, "group": None
                }  # fmt: skip
                found.append(row.model_copy(update=update))
        return found

    def _trials(self, row: MethodRow, m: int) -> dict[str, list[Chosen]] | None:
        """By arm, the settings of every trial; None where a first run must tell how many tasks there are.

        What the row sets itself in an arm is not searched there.
        """
        assert self.declared.tuning is not None
        found: dict[str, list[Chosen]] = {}
        for arm in self.declared.arms:
            if row.chosen and arm.name not in row.chosen:
                continue
            own = row.chosen.get(arm.name, Chosen())
            args = {**row.args, **own.args}
            if m == 0 and any(isinstance(space, Simplex) for space in space_of(row.method, args).values()):
                return None
            if not row.chosen and found:
                found[arm.name] = next(iter(found.values()))
                continue
            trials = trials_of(self.declared.tuning, row.method, args, m)
            found[arm.name] = [Chosen(args=one.args, options={**own.options, **one.options}) for one in trials]
        return found

    def _trial(self, row: MethodRow, label: str, settings: dict[str, Chosen]) -> MethodRow:
        """The row with what is tried; in arms with settings of their own, that beside them."""
        assert self.declared.tuning is not None
        update = {"label": label, "role": "trial", "seeds": self.declared.tuning.seeds, "group": None, "against": None}
        if row.chosen:
            return row.model_copy(update={**update, "chosen": settings})
        one = next(iter(settings.values()))
        options = {**row.problem_options, **one.options}
        return row.model_copy(update={**update, "args": one.args, "problem_options": options})

    def _chosen(self, arm: str, labels: Sequence[str], trials: Sequence[Chosen]) -> Chosen | None:
        """The best of the trials that ended well, once all of them were made: one that failed was made, too."""
        assert self.declared.tuning is not None
        runs = [self._all(arm, label, self.declared.tuning.seeds) for label in labels]
        if any(one is None for one in runs):
            return None
        best = best_of(scores_of_trials([one for one in runs if one is not None]))
        return None if best is None else trials[best]

    def _late(self, rows: Sequence[MethodRow], base: MethodRow) -> list[MethodRow]:
        """Rows made from the finished runs of other rows."""
        found = []
        for row in rows:
            if row.label == base.label:
                continue
            if "frozen" in self.declared.controls and not is_constant(row):
                chosen = self._from_runs(row, lambda runs, arm: frozen(runs))
                if chosen:
                    found.append(
                        MethodRow(
                            label=frozen_twin(row.label),
                            method="fixed",
                            problem_options=row.problem_options,
                            role="control",
                            against=row.label,
                            chosen=chosen,
                        )
                    )
            if "equal time" in self.declared.controls:
                chosen = self._from_runs(row, lambda runs, arm: equal_time(runs, self._finished(arm, base) or []))
                if chosen:
                    update = {"label": at_equal_time(row.label), "role": "control", "chosen": chosen, "group": None}
                    found.append(row.model_copy(update=update))
        return found

    def _from_runs(self, row: MethodRow, make: Callable[[list[Run], str], Chosen | None]) -> dict[str, Chosen]:
        """By arm, what `make` makes of the row's runs, once all seeds are there; beside what was chosen for the row."""
        found = {}
        for arm in self.declared.arms:
            runs = self._finished(arm.name, row)
            made = None if runs is None else make(runs, arm.name)
            if made is not None:
                known = row.chosen.get(arm.name, Chosen())
                args = made.args or known.args
                found[arm.name] = Chosen(args=args, options={**known.options, **made.options})
        return found

    def _finished(self, arm: str, row: MethodRow) -> list[Run] | None:
        """The runs of a row, in the order of its seeds; None unless all have ended."""
        runs = self._all(arm, row.label, row.seeds or self.seeds)
        return None if runs is None or any(run.status == "failed" for run in runs) else runs

    def _all(self, arm: str, label: str, seeds: Sequence[int]) -> list[Run] | None:
        """The runs of a cell, in the order of the seeds, however they ended; None unless all are there."""
        runs = self.attempted.get((arm, label), {})
        return [runs[seed] for seed in seeds] if all(seed in runs for seed in seeds) else None


def is_constant(row: MethodRow) -> bool:
    """Whether the row's weights are the same in every step, so that a frozen twin would be the same run again.

    Of methods of one's own, which only their runs can import, it is not known.
    """
    if ":" in row.method:
        return False
    chosen = next((one.args for one in row.chosen.values() if one.args), {})
    return isinstance(catalog.make(row.method, **{**row.args, **chosen}), Sum | Mean | Fixed)
