"""What every entry of the table of domains must be; a new domain is one entry, and this says what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.uda.data import BUILT_IN, DOMAINS, FROM_FOLDER, TRAINED_ON, classes_of, image_shape, load_domain, load_pair
from tests.tasks.uda.test_real import NAMES as PHOTOGRAPHS

README = (Path(__file__).parents[3] / "tasks" / "uda" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", DOMAINS)
def test_a_domain_is_documented_and_fits_to_another(name: str) -> None:
    entry = DOMAINS[name]
    own = name.rpartition("/")[2]
    written = [f"`{name}`", *([f"`.../{own}`", f"`{own}`"] if own != name else [])]
    assert any(one in README for one in written), f"{name}: not in tasks/uda/README.md"
    assert entry.data in ("none", "either", "needed", "fetched"), f"{name}: how its data are had is not said"
    assert (entry.trained_on is None) == (entry.data == "needed"), f"{name}: how many are trained on is not said"
    assert entry.classes is not None or name in PHOTOGRAPHS, f"{name}: no classes, and no tree in test_real.py"
    partners = [other for other in DOMAINS if other != name and fits(name, other)]
    assert partners, f"{name}: no domain with the same classes"
    for other in partners:
        channels, size = image_shape(name, other)
        assert (channels, size) == image_shape(other, name)
        assert size <= min(entry.size, DOMAINS[other].size)
        assert channels == 1 or entry.colour or DOMAINS[other].colour


def fits(one: str, other: str) -> bool:
    try:
        classes_of(one, other)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_domain_is_what_its_entry_says(name: str) -> None:
    entry = DOMAINS[name]
    channels = 3 if entry.colour else 1
    domain = load_domain(name, channels=channels, size=16)
    assert (domain.name, domain.classes) == (name, entry.classes)
    assert len(domain.train) == entry.trained_on == TRAINED_ON[name]
    for part in (domain.train, domain.validation, domain.test):
        assert part.images.shape == (len(part), channels, 16, 16)
        assert set(part.labels.tolist()) == set(range(len(domain.classes)))


def test_where_data_come_from() -> None:
    assert BUILT_IN == ("font", "optical", "mnist", "scene")
    assert set(BUILT_IN) & set(FROM_FOLDER) == {"mnist"}
    assert [domain.name for domain in load_pair("font", "mnist")] == ["font", "mnist"]
