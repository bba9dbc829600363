"""The suites of the paper's experiments have the settings of the systems' own papers, and say what they have not."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.__main__ import SUITES
from benchmarks.paper import table
from mtlgrad.compare.suite import Suite
from mtlgrad.compare.suite import load as load_suite
from tasks.uda.systems import SYSTEMS
from tasks.uda.task import UDA

PHOTOGRAPHS = {"office31": 1, "office-home": 2, "visda": 4, "domainnet": 5}
DIGITS = {"digits-paper": 3}


def problems(suite: Suite, method: str, arm: str | None = None) -> list[UDA]:
    """The problems of a system's rows."""
    arms = [one for one in suite.arms if arm in (None, one.name)]
    rows = [row for row in suite.methods if row.problem_options["method"] == method]
    return [UDA(**suite.options_of(one, row)) for one in arms for row in rows]


@pytest.mark.parametrize("name", {**PHOTOGRAPHS, **DIGITS})
def test_a_systems_rows_differ_in_their_aggregation_alone(name: str) -> None:
    suite = load_suite(SUITES / f"{name}.toml")
    for arm in suite.arms:
        for method in {row.problem_options["method"] for row in suite.methods}:
            first, *others = [one.options for one in problems(suite, method, arm.name)]
            assert all(other == first for other in others), (arm.name, method)


@pytest.mark.parametrize("name", {**PHOTOGRAPHS, **DIGITS})
def test_strengths_and_repeats_are_those_of_the_systems_own_papers(name: str) -> None:
    suite = load_suite(SUITES / f"{name}.toml")
    for method, expected in {
        "mcd": {"tradeoff": 1.0, "generator_steps": 4},
        "dwl": {"repeats": 8, "tradeoff": 1.0},
        "cdan_e": {"hidden": 500 if name in DIGITS else 1024, "dropout": 0.5},
    }.items():
        assert all(dict(one.settings) == expected for one in problems(suite, method)), method


@pytest.mark.parametrize(
    ("name", "lr", "perturbation"),
    [("office31", 1e-3, 0.2), ("office-home", 4e-3, 0.3), ("visda", 2e-3, 0.3), ("domainnet", 4e-3, 0.3)],
)
def test_ssrt_is_trained_as_published_on_each_data_set(name: str, lr: float, perturbation: float) -> None:
    for one in problems(load_suite(SUITES / f"{name}.toml"), "ssrt"):
        assert one.backbone == "vit_b16"
        assert one.batch_size == 32
        assert dict(one.settings) == {"hidden": 1024, "perturbation": perturbation, "period": 1000}
        recipe = one.optimization
        assert (recipe.optimizer, recipe.nesterov, recipe.lr, recipe.trunk) == ("sgd", True, lr, 0.1)
        assert (recipe.schedule, recipe.horizon, recipe.weight_decay) == ("inverse", 10_000, 5e-4)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_published_schedules_do_not_stretch_with_the_run(name: str) -> None:
    """At iteration i the rate is (1 + 0.001 i)^-0.75 of the first, however long the run is."""
    suite = load_suite(SUITES / f"{name}.toml")
    for method in ("cdan_e", "gvb"):
        for one in problems(suite, method):
            assert one.batch_size == 36
            assert one.optimization.weight_decay == 1e-3
            assert one.optimization.factor(2000, one.steps) == pytest.approx(3**-0.75)
            assert one.optimization.lr * one.optimization.trunk == pytest.approx(
                3e-4 if (name, method) == ("visda", "gvb") else 1e-3
            )


@pytest.mark.parametrize(
    ("arm", "lr", "decay", "every", "first"),
    [
        ("mnist-to-usps", 0.01, 0.5, 5 * 937, 937),
        ("usps-to-mnist", 0.01, 0.5, 6 * 937, 937),
        ("svhn-to-mnist", 0.03, 0.3, 3 * 1144, 1144),
    ],
)
def test_cdan_on_digits_has_its_steps_down_and_its_first_epoch(
    arm: str, lr: float, decay: float, every: int, first: int
) -> None:
    suite = load_suite(SUITES / "digits-paper.toml")
    assert (60_000 // 64, 73_257 // 64) == (937, 1144)  # batches of an epoch
    assert suite.steps == 50 * 937
    for one in problems(suite, "cdan_e", arm):
        recipe = one.optimization
        rates = [recipe.lr * recipe.factor(index, one.steps) for index in (0, every - 1, every, 2 * every)]
        assert rates == pytest.approx([lr, lr, decay * lr, decay**2 * lr])
        assert (recipe.optimizer, recipe.momentum, recipe.nesterov, recipe.weight_decay) == ("sgd", 0.9, False, 5e-4)
        assert (one.warmup, one.batch_size, one.protocol) == (first, 64, "full")
    for method in ("mcd", "dwl"):
        for one in problems(suite, method, arm):  # nothing of CDAN's, which the arm has
            plain: dict[str, Any] = {"lr": 2e-4, "warmup": 0, "recipe_changes": {}, "batch_size": 128}
            assert {name: one.options[name] for name in plain} == plain
            assert one.optimization.optimizer == "adam"


def test_visda_is_judged_by_the_mean_over_classes() -> None:
    suite = load_suite(SUITES / "visda.toml")
    assert {one.metric for method in ("source_only", "mcd", "ssrt") for one in problems(suite, method)} == {
        "class_accuracy"
    }


@pytest.mark.parametrize("name", {**PHOTOGRAPHS, **DIGITS})
def test_a_suite_says_of_which_systems_something_is_missing(name: str) -> None:
    suite = load_suite(SUITES / f"{name}.toml")
    (setting,) = table({**PHOTOGRAPHS, **DIGITS}[name]).settings
    for system, differs in setting.systems.items():
        if differs is not None and system != "source_only":
            assert SYSTEMS[system].title in suite.description, system
    if all(setting.systems.values()):
        assert "none of the paper's figures is printed beside these" in suite.description
