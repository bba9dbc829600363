"""What a comparison is: one problem in one or more arms, a list of methods, seeds. Read from a TOML file.

The keys of such a file are those of `Suite`, `Arm` and `MethodRow`; docs/suites.md shows one that has them all.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mtlgrad.compare.consistency import check_consistent, needed
from mtlgrad.compare.controls import Control
from mtlgrad.compare.labels import MOST_LETTERS, did_you_mean, slug
from mtlgrad.compare.likeness import completed
from mtlgrad.compare.metrics import Metrics
from mtlgrad.compare.options import Options
from mtlgrad.compare.schema import Identity, formerly
from mtlgrad.compare.tuning import Chosen, Tuning

MOST_SEED = 2**63
"""Seeds are below: what NumPy, pandas and torch all hold."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
Label = Annotated[str, Field(min_length=1, max_length=MOST_LETTERS)]
Seed = Annotated[int, Field(ge=0, lt=MOST_SEED)]


class SuiteError(ValueError):
    """A suite that is unknown or not well formed; the message is one line, meant for the command line."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Arm(_Strict):
    """The problem with certain options: every method runs in every arm."""

    name: Name
    title: str
    options: Options = {}


class MethodRow(_Strict):
    """One line of the comparison."""

    label: Label
    method: str
    args: Options = {}
    """Hyperparameters of the method."""
    problem_options: Options = formerly("problem_options", "task_options", default={})
    """Override those of suite and arm: how a reference such as training on the source only is put."""
    role: Literal["method", "reference", "control", "default", "trial"] = "method"
    """A reference is drawn as a line to compare with, a control is judged like a method. "default" and "trial" are what
    tuning makes: the row as it was written, and one of its trials; neither is judged."""
    seeds: list[Seed] | None = None
    """None: those of the suite."""
    against: Label | None = None
    """The label that it is judged against; None: the suite's baseline."""
    chosen: dict[str, Chosen] = {}
    """By arm, settings of its own, from tuning or from other runs. Where it is given, the row is in these arms only."""
    group: Label | None = None
    """Rows of one group are candidates: the one with the best validation score stands for them all."""


class Suite(_Strict):
    """A comparison."""

    name: Name
    title: str = ""
    description: str = ""
    problem: str = formerly("problem", "task")
    problem_options: Options = formerly("problem_options", "task_options", default={})
    seeds: Annotated[list[Seed], Field(min_length=1)]
    steps: Annotated[int, Field(ge=1)] | None = None
    """Training steps of every run, given to the problem as its option `steps`; None: the problem's own number."""
    evaluate_every: Annotated[int, Field(ge=1)] = 100
    """Steps between evaluations of a problem with phases; a function logs when it likes."""
    baseline: Label
    """The label that the others are compared with."""
    metrics: Metrics = {}
    """What is judged, with directions, units and margins, the main metric first; none: the problem's main metric."""
    columns: list[str] = []
    """Metrics that get a table of their own, at the last step, in this order; none: the main metric says it all."""
    tuning: Tuning | None = None
    """The same budget for every method; none: all run as they are written."""
    controls: list[Control] = []
    """Rows that settle what a plain comparison leaves open, by one word each; `mtlgrad.compare.controls` has them."""
    arms: Annotated[list[Arm], Field(min_length=1)] = [Arm(name="all", title="All runs")]
    methods: Annotated[list[MethodRow], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Suite:
        check_consistent(self)
        return self

    @property
    def further(self) -> list[str]:
        """The metrics that get a table of their own: `columns`, or all that are judged where they are several."""
        return self.columns or (list(self.metrics) if len(self.metrics) > 1 else [])

    @property
    def labels(self) -> list[str]:
        return [row.label for row in self.methods]

    @property
    def groups(self) -> dict[str, list[str]]:
        """Group to the labels of its candidates."""
        names = dict.fromkeys(row.group for row in self.methods if row.group)
        return {name: [row.label for row in self.methods if row.group == name] for name in names}

    def is_tuned(self, row: MethodRow) -> bool:
        """Whether tuning gives trials to this row of a suite as it is written.

        Candidates of a group are settings that somebody wrote and have none, but for the baseline: tuned methods would
        else be judged against an untuned one.
        """
        return row.label == self.baseline or (row.group is None and row.role in ("method", "control"))

    def options_of(self, arm: Arm, row: MethodRow) -> Options:
        """The problem's options for one cell: the suite's, then the arm's, then the row's."""
        steps = {} if self.steps is None else {"steps": self.steps}
        found = row.chosen[arm.name].options if row.chosen else {}
        return {**self.problem_options, **arm.options, **row.problem_options, **steps, **found}

    def identities(self) -> list[Identity]:
        """Of all runs, seed by seed, so that an early look at the results has every method."""
        seeds = dict.fromkeys(seed for row in self.methods for seed in (row.seeds or self.seeds))
        return [
            self.identity(arm, row, seed)
            for seed in seeds
            for arm in self.arms
            for row in self.methods
            if seed in (row.seeds or self.seeds) and (not row.chosen or arm.name in row.chosen)
        ]

    def identity(self, arm: Arm, row: MethodRow, seed: int) -> Identity:
        """What the run of one cell and seed is."""
        return Identity(
            suite=self.name,
            arm=arm.name,
            label=row.label,
            problem=self.problem,
            problem_options=self.options_of(arm, row),
            method=row.method,
            method_args={**row.args, **(row.chosen[arm.name].args if row.chosen else {})},
            seed=seed,
            evaluate_every=self.evaluate_every,
        )

    def cell(self, arm: str, label: str) -> tuple[Arm, MethodRow] | None:
        """The cell that a run of this arm and label is of; labels that name the same files are the same label."""
        cells = ((one, row) for one in self.arms for row in self.methods if not row.chosen or one.name in row.chosen)
        return next(((one, row) for one, row in cells if (one.name, slug(row.label)) == (arm, slug(label))), None)

    def restricted(
        self, *, methods: list[str] | None = None, seeds: list[int] | None = None, steps: int | None = None
    ) -> Suite:
        """The suite with fewer methods, other seeds, other steps; SuiteError where there is no such suite.

        The baseline always stays, and so does what a method is judged against.
        """
        known = {slug(label) for label in self.labels}
        for method in methods or []:
            if slug(method) not in known:
                hint = did_you_mean(method, self.labels)
                raise SuiteError(
                    f"unknown method {method!r} in suite {self.name!r}{hint}; known: {', '.join(self.labels)}"
                )
        kept = known if methods is None else needed(self, methods)
        changed = {
            "methods": [row for row in self.methods if slug(row.label) in kept],
            "seeds": self.seeds if seeds is None else seeds,
            "steps": self.steps if steps is None else steps,
        }
        try:
            return Suite.model_validate({**dict(self), **changed})
        except ValidationError as error:
            raise SuiteError(explain(error)) from error


def names(folder: Path | None) -> list[str]:
    """The suites of a folder; none without one."""
    return [] if folder is None else sorted(path.stem for path in folder.glob("*.toml"))


def find(name_or_path: str, folder: Path | None = None) -> Path:
    """The file of a suite, by its path or, if it is of `folder`, by its name."""
    known = names(folder)
    if folder is not None and name_or_path in known:
        return folder / f"{name_or_path}.toml"
    path = Path(name_or_path)
    if path.suffix == ".toml" and path.is_file():
        return path
    raise SuiteError(f"unknown suite {name_or_path!r}; known: {', '.join([*known, 'or the path of a .toml file'])}")


def load(path: Path) -> Suite:
    """Read and check a suite file; SuiteError names the file, the key, the value and what is allowed."""
    try:
        data = completed(_read(path), path, _read)
    except ValueError as error:
        raise error if isinstance(error, SuiteError) else SuiteError(f"{path.name}: {error}") from error
    try:
        suite = Suite.model_validate(data)
    except ValidationError as error:
        raise SuiteError(f"{path.name}: {explain(error)}") from error
    for k, row in enumerate(suite.methods):  # here and not in the schema: folders of results may hold older suites
        for key, value in (("label", row.label), ("group", row.group)):
            if value is not None and "," in value:
                raise SuiteError(
                    f"{path.name}: methods[{k}].{key}: must hold no comma, which separates labels in --methods, "
                    f"got {value!r}"
                )
    return suite


def _read(path: Path) -> dict[str, Any]:
    """What a suite's file holds."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors of one system begin files with a mark
    except OSError as error:
        raise SuiteError(f"{path.name}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path.name}: not valid TOML: {error}") from error


def explain(error: ValidationError) -> str:
    """The first finding of pydantic in one line: key, value, what is allowed; and how many more there are."""
    findings = error.errors(include_url=False)
    first = findings[0]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    shown = repr(first["input"])
    got = f", got {shown if len(shown) <= 60 else shown[:57] + '...'}" if key and first["type"] != "missing" else ""
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"{key}: {message}{got}{more}" if key else f"{message}{more}"
