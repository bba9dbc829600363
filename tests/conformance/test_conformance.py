"""Every method of the catalog, with its variants, keeps the promises of its traits; and promises all that it could."""

from __future__ import annotations

import pytest
import torch

from mtlgrad import catalog
from mtlgrad.method import Method
from mtlgrad.testing import Check, checks_for, jacobians

METHODS: list[Method] = [method for entry in catalog.CATALOG.values() for method in entry.methods]


@pytest.mark.parametrize("check", [c for method in METHODS for c in checks_for(method)], ids=str)
def test_promise(check: Check) -> None:
    check()


def _conflicts(method: Method) -> bool:
    low, high = method.traits.min_tasks, method.traits.max_tasks
    for m in (m for m in {2, 3, 5, low} if m >= low and m >= 2 and (high is None or m <= high)):
        for seed in range(60):
            plain = jacobians(m, 4, seed=seed)["plain"]
            for jacobian in (plain, plain * torch.logspace(0, 3, m).double()[:, None]):
                losses = torch.linspace(0.5, 2.0, m).double()
                generator = torch.Generator().manual_seed(seed)
                more = {"features": torch.ones(2, 2).double()} if method.traits.needs_features else {}
                direction = method(jacobian, losses=losses, generator=generator, **more)  # type: ignore[operator]
                slack = 1e-9 * jacobian.norm(dim=1) * direction.norm()
                if bool((jacobian @ direction < -slack).any()):
                    return True
    return False


@pytest.mark.parametrize("method", [m for m in METHODS if not m.traits.non_conflicting], ids=lambda m: m.name)
def test_a_method_that_does_not_promise_to_avoid_conflict_does_conflict(method: Method) -> None:
    # Otherwise the property table understates it.
    assert _conflicts(method)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_docstring_is_complete(method: Method) -> None:
    text = type(method).__doc__ or ""
    assert ">>>" in text, "a runnable example is due"
    assert ".. math::" in text, "the equation is due"
    assert "Shapes:" in text
    assert "References" in text
