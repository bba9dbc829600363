"""An arm of several systems, as in the suites of the paper: each is compared with itself only."""

from typing import Any

import pytest

from mtlgrad.compare.job import Job
from mtlgrad.compare.run import execute
from mtlgrad.compare.schema import Identity, Run, StepTime
from tasks.uda.analyses.runs import COLOURS, looks, systems
from tasks.uda.analyses.table import ANALYSES


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A good run, of which others are made by changing what is read."""
    identity = Identity(
        suite="s", arm="a", label="sum", problem="tasks.uda.task:UDA",
        problem_options={"method": "source_only", "steps": 1, "batch_size": 16}, method="sum", method_args={}, seed=0,
        evaluate_every=1,
    )  # fmt: skip
    run = execute(Job(identity, tmp_path_factory.mktemp("results")))
    assert run.status == "ok", run.reason
    return run


def made(
    pattern: Run, label: str, system: str, method: str, *, accuracy: float = 50.0, ms: float = 10.0, **other: Any
) -> Run:
    assert pattern.metrics is not None
    metrics = pattern.metrics.model_copy(update={"final": {**pattern.metrics.final, "accuracy": accuracy}})
    args = other.pop("args", {})
    options = {**pattern.problem_options, "method": system, **other.pop("options", {})}
    changed = {
        "label": label, "method": method, "metrics": metrics, "method_args": args, "all_method_args": args,
        "problem_options": options, "step_ms": StepTime(median=ms, q25=ms, q75=ms, steps=1), **other,
    }  # fmt: skip
    return pattern.model_copy(update=changed)


def test_a_step_is_timed_against_the_plain_sum_of_its_own_system(pattern: Run) -> None:
    runs = [
        made(pattern, "source only", "source_only", "sum", ms=1.0),
        made(pattern, "CDAN", "cdan_e", "sum", ms=10.0),
        made(pattern, "CDAN+GH", "cdan_e", "gh", ms=15.0),
        made(pattern, "MCD", "mcd", "sum", ms=20.0),
        made(pattern, "MCD+GH", "mcd", "gh", ms=25.0),
        made(pattern, "DWL+GH", "dwl", "gh", ms=30.0),
    ]
    shown = ANALYSES["time"].data(runs)
    assert shown is not None
    assert {label: (row["baseline"], row["ratio"]) for label, row in shown["methods"].items()} == {
        "source only": ("source only", 1.0),
        "CDAN": ("CDAN", 1.0),
        "CDAN+GH": ("CDAN", 1.5),
        "MCD": ("MCD", 1.0),
        "MCD+GH": ("MCD", 1.25),
        "DWL+GH": (None, None),
    }
    [axis] = ANALYSES["time"].draw(shown).axes
    beside = [text.get_text().strip() for text in axis.texts]
    assert beside == ["1.0", "10.0", "15.0 (1.50 x CDAN)", "20.0", "25.0 (1.25 x MCD)", "30.0"]


@pytest.mark.parametrize("other", ["seed", "machine", "threads", "batch size"])
def test_times_are_compared_between_runs_that_are_alike(pattern: Run, other: str) -> None:
    changed: dict[str, Any] = {
        "seed": {"seed": 1},
        "machine": {"machine": pattern.machine.model_copy(update={"kind": "another"})},
        "threads": {"threads": pattern.threads + 1},
        "batch size": {"options": {"batch_size": 8}},
    }[other]
    shown = ANALYSES["time"].data([made(pattern, "MCD", "mcd", "sum"), made(pattern, "MCD+GH", "mcd", "gh", **changed)])
    assert shown is not None
    assert shown["methods"]["MCD+GH"]["ratio"] is None


def test_each_system_has_lines_of_its_own_over_lambda(pattern: Run) -> None:
    lams = {("CDAN", "cdan_e"): {0.25: 60.0, 0.5: 62.0}, ("MCD", "mcd"): {0.25: 80.0, 0.75: 84.0}}
    runs = [
        made(pattern, f"{name}+GH++ {lam}", system, "ghpp", args={"lam": lam}, accuracy=accuracy)
        for (name, system), found in lams.items()
        for lam, accuracy in found.items()
    ]
    shown = ANALYSES["lambda"].data(runs)
    assert shown is not None
    assert shown["panels"] == {
        "CDAN+E": {"published": {"lam": [0.25, 0.5], "mean": [60.0, 62.0], "std": [0.0, 0.0]}},
        "MCD": {"published": {"lam": [0.25, 0.75], "mean": [80.0, 84.0], "std": [0.0, 0.0]}},
    }
    assert [axis.get_title() for axis in ANALYSES["lambda"].draw(shown).axes] == ["CDAN+E", "MCD"]
    assert ANALYSES["lambda"].data(runs[::2]) is None  # one lambda in each system is no line


def test_negated_gradients_stand_beside_their_own_system(pattern: Run) -> None:
    runs = [
        made(pattern, "source only", "source_only", "sum"),
        made(pattern, "CDAN", "cdan_e", "sum"),
        made(pattern, "MCD", "mcd", "sum"),
        made(pattern, "MCD+GH", "mcd", "gh"),
        made(pattern, "MCD+GH++ 0.25", "mcd", "ghpp", args={"lam": 0.25}),
        made(pattern, "MCD negated", "mcd", "negated", args={"task": 0}),
    ]
    shown = ANALYSES["negated"].data(runs)
    assert shown is not None
    assert {system: list(rows) for system, rows in shown["panels"].items()} == {"MCD": ["MCD", "MCD+GH", "MCD negated"]}
    assert [axis.get_title() for axis in ANALYSES["negated"].draw(shown).axes] == ["MCD"]


def test_systems_of_one_title_are_told_apart_by_their_options(pattern: Run) -> None:
    runs = [
        made(pattern, "CNN", "source_only", "sum", options={"backbone": "digits"}),
        made(pattern, "ViT", "source_only", "sum", options={"backbone": "vit_small"}),
        made(pattern, "SSRT", "ssrt", "sum", options={"backbone": "vit_small"}),
        made(pattern, "SSRT+GH", "ssrt", "gh", options={"backbone": "vit_small"}),
    ]
    assert systems(runs) == {
        "CNN": "source only (backbone digits)",
        "ViT": "source only (backbone vit_small)",
        "SSRT": "SSRT",
        "SSRT+GH": "SSRT",
    }


def test_in_curves_a_system_has_a_colour_and_no_two_methods_look_alike() -> None:
    several = {"source only": "source only", "CDAN": "CDAN+E", "CDAN+GH": "CDAN+E", "MCD": "MCD", "MCD+GH": "MCD"}
    found = looks(several)
    assert [one["color"] for one in found.values()] == [COLOURS[k] for k in (0, 1, 1, 2, 2)]
    assert [one["linestyle"] for one in found.values()] == ["-", "-", "--", "-", "--"]
    single = looks({f"method {k}": "MCD" for k in range(8)})
    assert len({one["color"] for one in single.values()}) == 8
    many = looks({f"method {k}": f"system {k}" for k in range(22)})
    assert len({tuple(one.values()) for one in many.values()}) == 22
