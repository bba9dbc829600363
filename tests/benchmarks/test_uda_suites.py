"""The suites of domain adaptation: every system is in one, and the five of the paper meet every method."""

from pathlib import Path

import pytest

from mtlgrad.compare.suite import load
from tasks.uda.systems import SYSTEMS

SUITES = Path(__file__).parents[2] / "benchmarks" / "suites"


def test_every_system_is_measured_against_the_source_alone() -> None:
    suite = load(SUITES / "uda-systems.toml")
    assert {row.problem_options["method"] for row in suite.methods} == set(SYSTEMS)
    assert suite.baseline == "source only"
    assert len(suite.arms) == 12  # all ordered pairs of four domains


def test_longer_runs_are_on_some_of_the_same_pairs() -> None:
    systems, lengths = load(SUITES / "uda-systems.toml"), load(SUITES / "uda-lengths.toml")
    assert lengths.methods == systems.methods
    assert all(arm in systems.arms for arm in lengths.arms)
    assert lengths.steps == 3 * systems.steps


def test_those_that_still_climb_go_on_from_the_same_pairs() -> None:
    lengths, plateaus = load(SUITES / "uda-lengths.toml"), load(SUITES / "uda-plateaus.toml")
    assert (plateaus.arms, plateaus.seeds) == (lengths.arms, lengths.seeds)
    assert all(row in lengths.methods for row in plateaus.methods)
    assert plateaus.steps == 3 * lengths.steps


def test_strengths_are_compared_at_the_length_and_on_the_pairs_where_systems_lose() -> None:
    lengths, strengths = load(SUITES / "uda-lengths.toml"), load(SUITES / "uda-strengths.toml")
    assert (strengths.steps, strengths.arms) == (lengths.steps, lengths.arms)
    rows = {row.label: row.problem_options for row in strengths.methods}
    for name in ("DANN", "BSP", "MetaAlign", "FGDA", "SWD"):
        system = SYSTEMS[rows[name]["method"]]
        assert rows[f"{name} (a tenth)"]["settings"] == {"tradeoff": system.defaults["tradeoff"] / 10}
        assert rows[f"{name} (published optimizer)"]["recipe"] == "published"


def test_styles_are_adapted_to_by_every_system_that_needs_no_transformer() -> None:
    systems, styles = load(SUITES / "uda-styles-systems.toml"), load(SUITES / "uda-styles.toml")
    assert {row.problem_options["method"] for row in systems.methods} == set(SYSTEMS) - {"ssrt"}
    assert (systems.steps, systems.problem_options) == (styles.steps, styles.problem_options)


@pytest.mark.parametrize(
    ("name", "left_out"),
    [("uda-harmonised", set()), ("uda-harmonised-mnist", {"dwl", "ssrt"}), ("uda-styles", {"ssrt"})],
)
def test_the_papers_systems_meet_every_way_of_joining_their_gradients(name: str, left_out: set[str]) -> None:
    suite = load(SUITES / f"{name}.toml")
    assert {arm.options["method"] for arm in suite.arms} == {"mcd", "cdan_e", "dwl", "gvb", "ssrt"} - left_out
    methods = {row.method for row in suite.methods}
    assert {"sum", "gh", "ghpp", "pcgrad", "mgda", "cagrad", "nashmtl", "upgrad", "fixed"} <= methods
