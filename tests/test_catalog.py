"""Adding a method is one file and four lines: here is what notices that one of them is missing."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import mtlgrad
from docs.build import targets
from mtlgrad import aggregators, catalog, scalarizers
from mtlgrad.catalog import Entry
from mtlgrad.method import Method
from tests.reference.cases import CASES

ROOT = Path(__file__).parent.parent


def members(package: object) -> set[type[Method]]:
    found = {v for v in vars(package).values() if inspect.isclass(v) and issubclass(v, Method)}
    return {kind for kind in found if not inspect.isabstract(kind)}


def test_every_exported_method_is_in_the_catalog_and_back() -> None:
    assert members(aggregators) | members(scalarizers) == {type(e.method) for e in catalog.CATALOG.values()}


@pytest.mark.parametrize("entry", catalog.CATALOG.values(), ids=lambda e: e.name)
def test_every_method_has_its_four_lines(entry: Entry) -> None:
    kind = type(entry.method)
    assert getattr(mtlgrad, kind.__name__) is kind, "exported at the top"
    assert any(case.name == entry.name for case in CASES), "a case in tests/reference/cases.py"
    assert re.search(rf"^- .*`{kind.__name__}`", (ROOT / "CHANGELOG.md").read_text(), re.M), "a line in CHANGELOG.md"


def test_generated_tables_are_current() -> None:
    for path, text in targets().items():
        assert path.read_text() == text, f"{path.name}: run python -m docs.build"


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'ghp'.*did you mean 'gh.*known: sum, mean"):
        catalog.make("ghp")
    with pytest.raises(TypeError, match="'cagrad'.*radius.*allowed: c"):
        catalog.make("cagrad", radius=1)


def test_a_method_reads_as_it_was_made() -> None:
    assert catalog.make("cagrad").name == "CAGrad"
    assert catalog.make("ghpp", form="rotation", lam="safe").name == "GHPlusPlus(lam='safe', form='rotation')"
    assert catalog.make("fixed", weights=[1, 2]) == mtlgrad.Fixed(weights=(1, 2))


@pytest.mark.parametrize("spelling", ["GH", "Gh", "pc-grad", "PCGrad", "Aligned_MTL", "ghplusplus", "IMTL-G", "SILS"])
def test_any_spelling_of_a_name_is_known(spelling: str) -> None:
    made = catalog.make(spelling)
    assert type(made).__name__.lower() == "".join(c for c in spelling.lower() if c.isalnum())


def test_spellings_do_not_collide() -> None:
    for entry in catalog.CATALOG.values():
        assert catalog.entry(entry.name.upper()) is catalog.entry(entry.make.__name__.lower()) is entry


def test_what_is_no_method_is_told_what_to_do() -> None:
    from torchjd.aggregation import UPGrad

    assert catalog.as_method("gh") == catalog.as_method(mtlgrad.GH()) == catalog.as_method({"method": "GH"})
    for value, message in (
        (mtlgrad.GH, r"class GH: did you mean GH\(\)"),
        (UPGrad(), r"torchjd's UPGrad: use mtlgrad.UPGrad\(\)"),
        (lambda J: J.sum(0), "derive from mtlgrad.GramAggregator"),
        (3, "got 3"),
        ("fixed", r"no default for weights: make Fixed\(weights=...\)"),
    ):
        with pytest.raises(TypeError, match=message):
            catalog.as_method(value)
    with pytest.raises(ValueError, match="did you mean 'nashmtl'"):
        catalog.as_method("nash_mlt")
    with pytest.raises(TypeError, match="'inner' is no|unknown argument 'alfa' .did you mean 'alpha'"):
        catalog.make("fairgrad", alfa=1.0)
    with pytest.raises(ValueError, match='under "method"'):
        catalog.as_method({"name": "gh"})
