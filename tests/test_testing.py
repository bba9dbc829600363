"""The conformance suite notices a broken promise: one planted defect a check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from mtlgrad import (
    GH,
    MGDA,
    ElementwiseAggregator,
    GramAggregator,
    JacobianAggregator,
    StatefulGramAggregator,
    Traits,
)
from mtlgrad.linalg import combine
from mtlgrad.method import Method, State
from mtlgrad.scalarizers.base import StatefulScalarizer
from mtlgrad.solvers import aligned_weights
from mtlgrad.testing import check_method, checks_for


def planted(promised: Traits, weights: Callable[..., Tensor]) -> Method:
    """A Gramian method with these traits and weights(gram, generator)."""

    @dataclass(frozen=True)
    class Planted(GramAggregator):
        traits = promised

        def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
            return weights(gram, generator)

    return Planted()


def ones(gram: Tensor, _: object) -> Tensor:
    return torch.ones(len(gram), dtype=gram.dtype)


def by_first(gram: Tensor, _: object) -> Tensor:
    return torch.arange(1, len(gram) + 1, dtype=gram.dtype)


def poisoned(gram: Tensor, _: object) -> Tensor:
    return 1 / gram.diagonal()  # a zero row


def absolute(gram: Tensor, _: object) -> Tensor:
    return torch.where(gram.diagonal().sqrt() > 1e-3, 1.0, 0.5).double()  # an absolute threshold


def global_draw(gram: Tensor, _: object) -> Tensor:
    return torch.rand(len(gram), dtype=gram.dtype)


def drawn(gram: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(len(gram), dtype=gram.dtype, generator=generator) * torch.arange(1, len(gram) + 1)


def looks(gram: Tensor, _: object) -> Tensor:
    return torch.full((len(gram),), 1.0 + 0.0 * gram[0, 1].item(), dtype=gram.dtype)


def test_a_sound_method_passes() -> None:
    check_method(planted(Traits(sums_without_conflict=True), ones))


@pytest.mark.parametrize(
    ("method", "check"),
    [
        (planted(Traits(non_conflicting=True), ones), "non-conflicting"),
        (planted(Traits(simplex=True), ones), "simplex"),
        (planted(Traits(), by_first), "permutation equivariant"),
        (planted(Traits(stochastic=True), drawn), "permutation equivariant in the mean"),
        (planted(Traits(permutation_equivariant=False), poisoned), "finite on hard input"),
        (planted(Traits(), absolute), "scale equivariant"),
        (planted(Traits(scale_equivariant=False, scale_invariant=True), ones), "scale invariant"),
        (planted(Traits(stochastic=True), global_draw), "same generator, same answer"),
        (planted(Traits(stochastic=True), global_draw), "leaves the global generator alone"),
        (planted(Traits(permutation_equivariant=False), drawn), "stochastic as declared"),
        (planted(Traits(stochastic=True), ones), "stochastic as declared"),
        (planted(Traits(needs_losses=True), ones), "reads losses as declared"),
        (planted(Traits(sums_without_conflict=True), lambda G, g: 2 * ones(G, g)), "sums without conflict"),
        (planted(Traits(stateful=True), ones), "state in, state out"),
        (planted(Traits(closed_form_pair=True), looks), "no host synchronisation for a pair"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_planted_defect_is_found(method: Method, check: str) -> None:
    (found,) = [c for c in checks_for(method) if c.name == check]
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError)):
        found()


def test_state_that_is_changed_in_place_is_found() -> None:
    @dataclass(frozen=True)
    class Counter(StatefulGramAggregator):
        traits = Traits(stateful=True)

        def init(self, m: int, *, device: torch.device | None = None) -> State:
            return {"steps": torch.zeros(())}

        def _step(
            self, gram: Tensor, state: State, *, losses: Tensor | None, generator: torch.Generator | None
        ) -> tuple[Tensor, State]:
            state["steps"] += 1
            return state["steps"] * ones(gram, None), state

    with pytest.raises(AssertionError, match="two answers|in place"):
        check_method(Counter())


def test_a_changed_input_is_found() -> None:
    @dataclass(frozen=True)
    class Greedy(ElementwiseAggregator):
        traits = Traits()

        def _step(self, jacobian: Tensor, state: State, **more: object) -> tuple[Tensor, State]:
            return jacobian.mul_(0.5).sum(0), state

    with pytest.raises(AssertionError, match="modified"):
        check_method(Greedy())


def test_losses_that_are_read_undeclared_are_found() -> None:
    @dataclass(frozen=True)
    class ByLoss(GramAggregator):
        traits = Traits()

        def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
            return ones(gram, None) if losses is None else losses

    with pytest.raises(AssertionError, match="needs_losses"):
        check_method(ByLoss())


def test_losses_that_are_read_at_a_later_step_are_found() -> None:
    @dataclass(frozen=True)
    class Rate(StatefulScalarizer):
        traits = Traits(stateful=True, permutation_equivariant=False)

        def init(self, m: int, *, device: torch.device | None = None) -> State:
            return {"last": torch.zeros(m, dtype=torch.float64, device=device)}

        def _step(self, losses: Tensor, state: State, *, generator: torch.Generator | None) -> tuple[Tensor, State]:
            return 1 + state["last"], {"last": losses.clone()}

    with pytest.raises(AssertionError, match="needs_losses"):
        check_method(Rate())


@pytest.mark.parametrize("kept", ["the result", "last"])
def test_a_view_of_the_input_is_found(kept: str) -> None:
    @dataclass(frozen=True)
    class Keeper(JacobianAggregator):
        traits = Traits(stateful=True, permutation_equivariant=False)

        def init_like(self, jacobian: Tensor) -> State:
            return {"last": torch.zeros_like(jacobian)}

        def _step(self, jacobian: Tensor, state: State, **more: object) -> tuple[Tensor, State]:
            first = jacobian[0]
            return first if kept == "the result" else 2 * first, {
                "last": jacobian if kept == "last" else jacobian.clone()
            }

    with pytest.raises(AssertionError, match=f"{kept}.*shares memory"):
        check_method(Keeper())


def test_a_coarse_gramian_is_found() -> None:
    @dataclass(frozen=True)
    class Coarse(JacobianAggregator):
        traits = Traits()

        def _step(self, jacobian: Tensor, state: State, **more: object) -> tuple[Tensor, State]:
            gram = (jacobian @ jacobian.T).double().numpy()  # in the dtype of J
            return combine(torch.from_numpy(aligned_weights(gram, np.ones(len(gram)))), jacobian), state

    with pytest.raises(AssertionError, match="near parallel|duplicate|rank one"):
        check_method(Coarse())


@pytest.mark.parametrize("kind", [GH, MGDA])
def test_a_broken_projection_is_found(kind: type[Method], monkeypatch: pytest.MonkeyPatch) -> None:
    """GH's sign, a projection, the min-norm point: whatever breaks in between, a promise breaks with it."""
    whole = kind._weights  # type: ignore[attr-defined]
    for broken in (
        lambda self, gram, **more: 2 - whole(self, gram, **more),  # the sign of what is added
        lambda self, gram, **more: whole(self, gram * 0.9 + gram.diag().diag() * 0.1, **more),  # the Gramian
        lambda self, gram, **more: whole(self, gram, **more).flip(0),  # the wrong task
    ):
        monkeypatch.setattr(kind, "_weights", broken)
        with pytest.raises(AssertionError):
            check_method(kind())


def test_a_broken_promise_names_its_trait_and_how_to_declare_the_truth() -> None:
    @dataclass(frozen=True)
    class Rash(GramAggregator):
        traits = Traits(non_conflicting=True)

        def _weights(self, gram: Tensor, **more: object) -> Tensor:
            return torch.ones_like(gram[0])

    with pytest.raises(AssertionError, match=r"(?s)Rash breaks a promise, 'non-conflicting'.*non_conflicting=False"):
        check_method(Rash())


def test_a_gradient_through_the_decision_is_found() -> None:
    @dataclass(frozen=True)
    class Attached(GramAggregator):
        traits = Traits()
        scale = torch.ones((), requires_grad=True)

        def _weights(self, gram: Tensor, **more: object) -> Tensor:
            return self.scale * torch.ones_like(gram[0])

    with pytest.raises(AssertionError, match="detach"):
        next(check for check in checks_for(Attached()) if check.name == "results are detached")()
