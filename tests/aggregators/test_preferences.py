"""A preference vector, one way for all methods that take one; torchjd as the oracle."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torchjd.aggregation as torchjd

from mtlgrad import AlignedMTL, ConFIG, DualProj, GramAggregator, UPGrad, catalog
from mtlgrad.testing import jacobians

WITH = [UPGrad, DualProj, ConFIG, AlignedMTL]


@pytest.mark.parametrize("m", [2, 3, 6])
@pytest.mark.parametrize("kind", WITH, ids=lambda k: k.__name__)
def test_agrees_with_torchjd(kind: type[GramAggregator], m: int) -> None:
    preference = torch.rand(m, dtype=torch.float64, generator=torch.Generator().manual_seed(m)) + 0.1
    ours, theirs = kind(preference=tuple(preference.tolist())), getattr(torchjd, kind.__name__)(preference)  # type: ignore[call-arg]
    for seed in range(5):
        J = jacobians(m, seed=seed)["plain"]
        wanted = theirs(J)
        slack = 2e-3 if kind in (UPGrad, DualProj) else 1e-6  # they add 1e-4 of the trace to G before they project
        assert float((ours(J) - wanted).norm()) <= slack * float(wanted.norm())


@pytest.mark.parametrize("kind", WITH, ids=lambda k: k.__name__)
def test_an_equal_preference_is_none(kind: type[GramAggregator]) -> None:
    equal = 1.0 if kind in (ConFIG, AlignedMTL) else 1 / 3
    for family, J in jacobians(3).items():
        got = kind(preference=(equal,) * 3)(J)  # type: ignore[call-arg]
        torch.testing.assert_close(got, kind()(J), msg=family)


@pytest.mark.parametrize("kind", WITH, ids=lambda k: k.__name__)
def test_what_is_no_preference_is_refused(kind: type[GramAggregator]) -> None:
    for bad in ((-1.0, 1.0), (0.0, 0.0), (), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="preference"):
            kind(preference=bad)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="preference"):
        kind(preference=3.0)  # type: ignore[call-arg]


def test_every_preference_has_the_same_name_and_kind() -> None:
    for entry in catalog.CATALOG.values():
        for field in dataclasses.fields(entry.make):  # type: ignore[arg-type]
            assert not field.name.startswith("pref") or field.name == "preference"
            if field.name == "preference":
                assert "tuple[float, ...]" in str(field.type)


@pytest.mark.parametrize("kind", [UPGrad, DualProj], ids=lambda k: k.__name__)
def test_a_preferred_direction_hurts_no_task(kind: type[GramAggregator]) -> None:
    for family, J in jacobians(3).items():
        method = kind(preference=(0.0, 5.0, 0.1))  # type: ignore[call-arg]
        d, norms = method(J), J.norm(dim=1)
        reach = float(method.weights(J @ J.T).abs() @ norms)
        assert bool((J @ d >= -1e-9 * norms * max(float(d.norm()), 1e-6 * reach)).all()), family
