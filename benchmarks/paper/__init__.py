"""The numbers of Tables 1 to 8 of the gradient-harmonization paper, and where one may stand beside a number of ours.

One file a table: its columns, the averages that it prints and what each is the mean of, and its rows as printed. Where
a printed average is not the mean of the printed figures, within their rounding, `disagreements` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

FOLDER = Path(__file__).parent
NUMBERS = range(1, 9)


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


class Setting(_Strict):
    """What a suite of ours must be for a figure of the table to stand beside its own.

    suite: its name. arms: the name of an arm to the column that it is. options: what the problem's options must be in
    every run; one that a run leaves out does not match. steps: a minimum, as the paper gives no number.
    """

    suite: str
    arms: dict[str, str]
    options: dict[str, Any]
    steps: Annotated[int, Field(ge=1)]


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


def beside(
    *, suite: str, arm: str, problem_options: Mapping[str, Any], method: str, method_args: Mapping[str, Any]
) -> float | None:
    """The paper's figure for a run's cell, or None where data or protocol differ in anything that a table states.

    Parameters
    ----------
    suite, arm:
        Names, as a run has them.
    problem_options:
        As the run has them, `steps` among them.
    method, method_args:
        The aggregation's name in the catalogue and its hyperparameters, which must be the paper's: none.

    Examples
    --------
    >>> options = {"method": "mcd", "variant": "principled", "recipe": "published", "backbone": "resnet50"}
    >>> cell = {"suite": "office31", "arm": "amazon-to-webcam", "method": "gh", "method_args": {}}
    >>> beside(problem_options=options | {"steps": 20_000}, **cell), beside(problem_options=options, **cell)
    (91.4, None)
    """
    if method_args:
        return None
    for number in NUMBERS:
        shown = table(number)
        for setting in shown.settings:
            if setting.suite != suite or arm not in setting.arms or problem_options.get("steps", 0) < setting.steps:
                continue
            if any(problem_options.get(name) != value for name, value in setting.options.items()):
                continue
            for row in shown.rows:
                same = (row.system, row.aggregation) == (problem_options.get("method"), method)
                if same and (row.backbone or shown.backbone) == shown.backbone:
                    return row.values.get(setting.arms[arm])
    return None
