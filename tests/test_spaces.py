"""Search spaces: what points become, and that every method's is one that can be searched."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtlgrad import CAGrad, Every, Fixed, catalog
from mtlgrad.catalog import Entry
from mtlgrad.spaces import Choice, LogUniform, Simplex, Space, Uniform, placed

NOT_TUNED = {
    "main", "task",  # which task is meant
    "preference", "floor", "ideal", "window", "alignment", "discriminability",  # what the problem is, or was measured
    "byzantine", "selected", "trim",  # how many tasks are taken for outliers
    "warmup", "log_variance", "base", "solutions",  # where a run starts
    "inner", "order", "form", "rescale",  # which method it is
    "momentum", "steps", "beta", "eps",  # of an inner solver
}  # fmt: skip


@given(st.floats(0, 1), st.floats(-5, 5), st.floats(0.1, 9))
def test_points_become_values_in_range(u: float, low: float, width: float) -> None:
    assert low <= Uniform(low, low + width).at([u]) <= low + width
    assert 10**low <= LogUniform(10**low, 10 ** (low + width)).at([u]) <= 10 ** (low + width)
    assert Choice("a", "b", "c").at([u]) in ("a", "b", "c")


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_simplex_weights_are_positive_and_sum_to_m(point: list[float]) -> None:
    weights = Simplex().at(point)
    assert min(weights) > 0
    assert sum(weights) == pytest.approx(len(point))


def test_simplex_is_uniform() -> None:
    points = torch.rand(20_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([Simplex().at(point) for point in points.tolist()], dtype=torch.float64) / 3
    # Of a uniform point on the triangle each coordinate has distribution 1 - (1 - x)^2.
    for x in (0.1, 0.3, 0.6):
        assert (weights < x).double().mean(0).tolist() == pytest.approx([1 - (1 - x) ** 2] * 3, abs=0.015)


@pytest.mark.parametrize("entry", catalog.CATALOG.values(), ids=lambda e: e.name)
def test_every_corner_of_a_search_space_is_a_method(entry: Entry) -> None:
    method = entry.method
    m = max(2, method.traits.min_tasks)
    spaces = method.search_space
    for corner in itertools.product((0.0, 0.5, 1.0), repeat=len(spaces)):
        values = {name: space.at([u] * space.size(m)) for (name, space), u in zip(spaces.items(), corner, strict=True)}
        assert type(placed(method, values)) is type(method)


@pytest.mark.parametrize("entry", catalog.CATALOG.values(), ids=lambda e: e.name)
def test_every_hyperparameter_is_searched_or_is_not_to_be_tuned(entry: Entry) -> None:
    spaces = entry.method.search_space
    fields = {field.name: field for field in dataclasses.fields(entry.make)}  # type: ignore[arg-type]
    mine = {name for name in spaces if "." not in name}
    assert set(fields) - mine <= NOT_TUNED, "give it a space in search_space, or a reason here"
    assert mine <= set(fields)
    for name in mine:
        default = fields[name].default
        if default is not dataclasses.MISSING and default is not None:
            assert _holds(spaces[name], default), f"the default {name}={default} is outside its space"


def _holds(space: Space, value: object) -> bool:
    if isinstance(space, Choice):
        return value in space.values
    assert isinstance(space, Uniform | LogUniform)
    assert isinstance(value, float | int)
    return space.low <= value <= space.high


def test_wrappers_search_what_they_hold() -> None:
    method = Every(k=4, inner=CAGrad())
    assert set(method.search_space) == {"k", "inner.c"}
    assert placed(method, {"k": 2, "inner.c": 0.3}) == Every(k=2, inner=CAGrad(c=0.3))
    assert placed(Fixed((1.0, 1.0)), {"weights": (0.5, 1.5)}) == Fixed((0.5, 1.5))


@pytest.mark.parametrize(
    "make", [lambda: Uniform(1, 1), lambda: LogUniform(0, 1), lambda: Choice(1), lambda: Choice(1, 1)]
)
def test_spaces_without_room_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match="needs"):
        make()  # type: ignore[operator]
