"""A method for some of the tasks only: every hyperparameter that is about a task goes with it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

import mtlgrad
from mtlgrad import PCD, Balancer, Every, LRAnnealing, catalog
from mtlgrad.method import Method
from mtlgrad.testing import jacobians
from mtlgrad.testing.inputs import direction_of

J = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -0.5]])
NAMES = ("a", "b", "c")
KINDS = sorted({entry.make for entry in catalog.CATALOG.values()}, key=lambda kind: kind.__name__)  # type: ignore[attr-defined]


def made(kind: Any, **changed: Any) -> Any:
    (entry,) = (one for one in catalog.CATALOG.values() if one.make is kind)
    return kind(**{**entry.example, **changed})


def step(method: Method, tasks: str) -> Tensor:
    w = torch.zeros(2, requires_grad=True)
    Balancer(method, [w], tasks=NAMES).backward({name: J["abc".index(name)] @ w + 1 for name in tasks})
    assert w.grad is not None
    return w.grad


def index_fields(kind: Any) -> set[str]:
    """Integers that move when tasks change places: d(J; main=0) is d(J with rows 0 and 1 exchanged; main=1)."""
    found = set()
    for field in dataclasses.fields(kind):
        if not isinstance(getattr(made(kind), field.name), int):
            continue
        try:
            first, second = (made(kind, **{field.name: k}) for k in (0, 1))
        except (ValueError, TypeError):
            continue
        m = max(2, first.traits.min_tasks, second.traits.min_tasks)
        there = jacobians(m)["plain"][[1, 0, *range(2, m)]]
        try:
            moved = torch.allclose(direction_of(second, there), direction_of(first, jacobians(m)["plain"]))
            stayed = torch.allclose(direction_of(first, there), direction_of(first, jacobians(m)["plain"]))
        except ValueError:
            continue
        if moved and not stayed:
            found.add(field.name)
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_index_of_a_task_is_declared(kind: Any) -> None:
    if made(kind).traits.needs_losses:
        assert not kind.of_task  # `direction_of` gives each row a loss of its own: the exchange would not show
        return
    assert index_fields(kind) == set(kind.of_task)


def test_the_declaration_is_looked_for() -> None:
    assert {kind.__name__ for kind in KINDS if index_fields(kind)} == {"AGEM", "PCD", "LRAnnealing", "NegatedGradient"}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.of_task], ids=lambda kind: kind.__name__)  # type: ignore[attr-defined]
def test_the_index_is_where_the_task_is_now(kind: Any) -> None:
    for name in kind.of_task:
        method = made(kind, **{name: 1})
        assert getattr(method.among([1, 2]), name) == 0
        assert getattr(method.among([0, 1, 3]), name) == 1
        with pytest.raises(ValueError, match=f"task number 1.*{name}=1.*no loss at this step"):
            method.among([0, 2])


def candidates(kind: Any, m: int) -> dict[str, Any]:
    """Each field of `kind` that takes m different numbers and is then for m tasks, with such a method."""
    found = {}
    for field in dataclasses.fields(kind):
        numbers = tuple(0.25 + 0.125 * k for k in range(m))
        required = {one.name for one in dataclasses.fields(kind) if one.default is dataclasses.MISSING} - {field.name}
        if "tuple" not in str(field.type):
            continue
        more = {"preference": numbers} if "preference" in required else {}
        method = made(kind, **dict.fromkeys(kind.of_task, 1), **{**more, field.name: numbers})
        if method.traits.max_tasks is not None:
            found[field.name] = method
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_number_a_task_is_picked_with_the_tasks(kind: Any) -> None:
    for name, method in candidates(kind, 4).items():
        solutions = getattr(method, "solutions", 1)
        present = [1, 3] if solutions == 1 else [1, 3, 5, 7]
        alone = method.among(present)
        assert getattr(alone, name) == (0.375, 0.625), name
        alone.check_tasks(len(present))
        with pytest.raises(ValueError, match="m="):
            alone.check_tasks(len(present) + 1)


def test_numbers_a_task_are_looked_for() -> None:
    declared = {kind.__name__ for kind in KINDS if kind.per_task}  # type: ignore[attr-defined]
    assert declared <= {kind.__name__ for kind in KINDS if candidates(kind, 4)}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_batch_without_a_task_is_a_problem_of_the_others(kind: Any) -> None:
    """Through the Balancer, for what a step of the present tasks alone gives."""
    for method in [*candidates(kind, 3).values(), *(made(kind, **{name: 1}) for name in kind.of_task)]:
        if method.traits.needs_features or method.traits.max_tasks not in (None, 3):
            continue
        alone = method.among([1, 2])
        torch.testing.assert_close(
            step(method, "bc"),
            alone(J[1:].double(), losses=torch.ones(2).double(), generator=torch.Generator().manual_seed(0)).float(),
        )


def test_the_main_task_keeps_its_part() -> None:
    torch.testing.assert_close(step(PCD(tau=0.0, main=1), "bc"), torch.tensor([-0.4472, 0.8944]), atol=1e-4, rtol=0)
    torch.testing.assert_close(step(Every(2, PCD(tau=0.0, main=1)), "bc"), step(PCD(tau=0.0, main=1), "bc"))
    wanted = torch.tensor([-1.3333, 0.3333])
    torch.testing.assert_close(step(LRAnnealing(main=1, alpha=1.0), "bc"), wanted, atol=1e-4, rtol=0)
    for method in (PCD(main=1), LRAnnealing(main=1), Every(2, PCD(main=1))):
        with pytest.raises(ValueError, match=r"main=1.*task number 1.*no loss"):
            step(method, "ac")


@pytest.mark.parametrize("kind", [k for k in KINDS if "preference" in k.per_task], ids=lambda kind: kind.__name__)  # type: ignore[attr-defined]
def test_where_all_that_is_preferred_is_absent_it_is_told(kind: Any) -> None:
    try:
        method = kind(preference=(1.0, 0.0, 0.0))
    except ValueError:
        return  # it wants numbers > 0
    with pytest.raises(ValueError, match=r"preference=\(1.0, 0.0, 0.0\).*prefers none of the tasks that have a loss"):
        step(method, "bc")


def test_solutions_and_tasks_go_whole() -> None:
    method = mtlgrad.STCHSet((0.5, 0.25, 0.25), solutions=2, ideal=(0.0, 0.1, 0.2))
    assert method.among([0, 2, 3, 5]) == mtlgrad.STCHSet((0.5, 0.25), solutions=2, ideal=(0.0, 0.2))
    assert method.among([3, 4, 5]) == mtlgrad.STCHSet((0.5, 0.25, 0.25), solutions=1, ideal=(0.0, 0.1, 0.2))
    for present in ([0, 1, 2, 3, 5], [0, 4], [2, 3]):
        with pytest.raises(ValueError, match="under all solutions, or under none"):
            method.among(present)
