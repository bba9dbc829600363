"""A suite that is like another one takes from it what its own file leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtlgrad.compare.suite import Suite, SuiteError, load
from tests.compare.conftest import SUITE


def written(folder: Path, **files: str) -> Path:
    (folder / "small.toml").write_text(SUITE, encoding="utf-8")
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def test_what_is_left_out_is_the_others_and_what_is_given_is_its_own(tmp_path: Path, suite: Suite) -> None:
    written(tmp_path, longer='name = "longer"\nlike = "small"\nsteps = 36\n')
    longer = load(tmp_path / "longer.toml")
    assert suite.title  # which, as its description, is not the longer one's
    assert suite.description
    own = {"name": "longer", "title": "", "description": "", "steps": 36}
    assert longer.model_dump() == suite.model_copy(update=own).model_dump()


def test_a_suite_may_be_like_one_that_is_like_a_third(tmp_path: Path, suite: Suite) -> None:
    written(
        tmp_path,
        longer='name = "longer"\nlike = "small"\nsteps = 36\n',
        fewer='name = "fewer"\nlike = "longer"\nseeds = [7]\n',
    )
    fewer = load(tmp_path / "fewer.toml")
    assert (fewer.steps, fewer.seeds, fewer.methods) == (36, [7], suite.methods)


@pytest.mark.parametrize(
    ("like", "told"),
    [
        ('"smal"', r"like: must name another suite of the same folder, got 'smal'; known: small, third"),
        ('"mine"', r"like: must name another suite of the same folder, got 'mine'; known: small, third"),
        ("3", r"like: must name another suite of the same folder, got 3; known: small, third"),
        ('["small"]', r"like: must name another suite of the same folder, got \['small'\]; known"),
        ('"../small"', r"like: must name another suite of the same folder"),
        ('"third"', r"like: suites are like each other in a circle: mine -> third -> mine"),
    ],
)
def test_mistakes_name_what_is_allowed(tmp_path: Path, like: str, told: str) -> None:
    written(tmp_path, mine=f'name = "mine"\nlike = {like}\n', third='name = "third"\nlike = "mine"\n')
    with pytest.raises(SuiteError, match=told) as caught:
        load(tmp_path / "mine.toml")
    assert "\n" not in str(caught.value)


def test_a_mistake_in_the_other_file_names_that_file(tmp_path: Path) -> None:
    written(tmp_path, mine='name = "mine"\nlike = "broken"\n', broken="steps =")
    with pytest.raises(SuiteError, match=r"^broken.toml: not valid TOML"):
        load(tmp_path / "mine.toml")
