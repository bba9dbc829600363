"""The numbers of Tables 1 to 8 of the gradient-harmonization paper, and where one may stand beside a number of ours.

One file a table: its columns, the averages that it prints and what each is the mean of, and its rows as printed. Where
a printed average is not the mean of the printed figures, within their rounding, `disagreements` says so.

A figure stands beside a run only if all that can be told of the run is as published: its options are those of the
committed suite, its data have the published numbers of classes and images, and the table's file says of its system that
the suite follows the published protocol in full. What is not said is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict

from mtlgrad.compare.problem import Problem
from mtlgrad.compare.record import ready
from mtlgrad.compare.registry import find_problem, make_problem
from mtlgrad.compare.schema import Run
from mtlgrad.compare.suite import load
from tasks.registry import PROBLEMS

FOLDER = Path(__file__).parent
SUITES = FOLDER.parent / "suites"
NUMBERS = range(1, 9)
CALLED = {"vit_b16": "vit_b16, ImageNet-21K"}
"""Our backbones by the names that rows have for them, where these tell more: what it was pretrained on."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Disagreement(_Strict):
    """An average as printed, and the mean of the figures printed beside it."""

    row: str
    average: str
    printed: float
    computed: float


class Row(_Strict):
    """One line of a table.

    system, aggregation: the names that they have here, where there are such. backbone: where it is not the table's.
    values: column to figure; a dash of the table is left out.
    """

    label: str
    system: str | None = None
    aggregation: str | None = None
    backbone: str | None = None
    values: dict[str, float]


class Images(_Strict):
    """How many images the parts of a domain hold."""

    train: int
    test: int


class Setting(_Strict):
    """What a run must be for a figure of the table to stand beside its own.

    suite: the name of a committed suite, whose options the run must have. arms: the name of an arm to the column that
    it is. metric: what the table's figures are. classes, images: the published sizes of the data, by domain. systems:
    a system to what its published protocol has and the suite has not; nothing (None) where the suite has all of it. A
    system that is not named, or of which something is told, gets no figure.
    """

    suite: str
    arms: dict[str, str]
    metric: str = "accuracy"
    classes: int
    images: dict[str, Images]
    systems: dict[str, str | None]


class Table(_Strict):
    """A table of the paper."""

    table: int
    title: str
    unit: str
    backbone: str | None = None
    note: str | None = None
    columns: list[str]
    averages: dict[str, list[str]]
    """A column that is printed as an average to the columns that it is the mean of."""
    settings: list[Setting] = []
    disagreements: list[Disagreement] = []
    rows: list[Row]


@lru_cache(maxsize=len(NUMBERS))
def table(number: int) -> Table:
    """A table by its number in the paper.

    >>> next(row.values["Avg"] for row in table(3).rows if row.label == "MCD+GH++")
    97.2

    Raises
    ------
    ValueError
        There is no such table.
    """
    if number not in NUMBERS:
        raise ValueError(f"number={number} is no table of the paper; allowed: 1 to 8")
    return Table.model_validate_json((FOLDER / f"table{number}.json").read_text("utf-8"))


def beside(run: Run) -> float | None:
    """The paper's figure for a run's cell, or None where anything that decides the run's own differs or is not told.

    Seed and `data_dir` aside, the run must have every option, default or not, that the committed suite of its name
    gives to a cell of its arm: an option that is new counts without being named here.
    """
    if run.status != "ok" or run.method_args:  # the paper's methods are those with their defaults
        return None
    for number in NUMBERS:
        shown = table(number)
        for setting in shown.settings:
            if setting.suite == run.suite and run.arm in setting.arms and _as_published(run, setting):
                system, backbone = (run.all_problem_options[name] for name in ("method", "backbone"))
                for row in shown.rows:
                    same = (row.system, row.aggregation) == (system, run.method)
                    if same and (row.backbone or shown.backbone) == CALLED.get(backbone, backbone):
                        return row.values.get(setting.arms[run.arm])
    return None


def _as_published(run: Run, setting: Setting) -> bool:
    """Whether protocol, options, metric and data of a run are those of a setting."""
    problem, cells = committed(setting.suite)
    options = {name: value for name, value in run.all_problem_options.items() if name != "data_dir"}
    system = options.get("method")
    if setting.systems.get(str(system), "not named") is not None:
        return False
    if (run.problem, run.metric) != (problem, setting.metric) or options not in cells[run.arm, run.method]:
        return False
    domains = (options["source"], options["target"])
    images = {name: setting.images[name].model_dump() for name in domains if name in setting.images}
    published = {"kind": "data", "classes": setting.classes, "images": images}
    return len(images) == len(domains) and run.exhibits.get("sizes") == published


@lru_cache(maxsize=len(NUMBERS))
def committed(suite: str) -> tuple[str, Mapping[tuple[str, str], list[dict[str, Any]]]]:
    """The problem of a committed suite, and by arm and method the options of its cells: all of them but `data_dir`."""
    loaded = load(SUITES / f"{suite}.toml")
    kind = cast(type[Problem], find_problem(loaded.problem, PROBLEMS))
    cells: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for arm in loaded.arms:
        for row in loaded.methods:
            options = ready(make_problem(kind, loaded.options_of(arm, row)).options)
            cells[arm.name, row.method].append({k: value for k, value in options.items() if k != "data_dir"})
    return loaded.problem, cells
