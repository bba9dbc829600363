"""The public conformance suite: does a method keep the promises that its traits make?

Yours too: ``check_method(MyMethod())`` runs every check that applies and raises AssertionError at the first broken
promise; ``checks_for(method)`` yields them one by one, for ``pytest.mark.parametrize``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mtlgrad.aggregators import GramAggregator, HarmonizingAggregator
from mtlgrad.method import Method
from mtlgrad.testing import contracts, promises
from mtlgrad.testing.inputs import SLACK, jacobians

__all__ = ["SLACK", "Check", "check_method", "checks_for", "jacobians"]


@dataclass(frozen=True)
class Check:
    """One promise, bound to one method; call it to verify."""

    name: str
    method: Method
    verify: Callable[[Method], None]
    trait: str | None = None
    """The declared trait that the promise follows from; None: every method of this kind makes it."""

    def __call__(self) -> None:
        """Raise AssertionError, naming the promise and how to declare the truth, where the method breaks it."""
        try:
            self.verify(self.method)
        except AssertionError as error:
            raise AssertionError(
                f"{self.method.name} breaks a promise, {self.name!r}: {error}{self._way_out()}"
            ) from error

    def _way_out(self) -> str:
        if self.trait is None:
            return ""
        declared = getattr(self.method.traits, self.trait)
        if not isinstance(declared, bool):
            return f"\nIts traits declare {self.trait}={declared}: declare what is true, or mend the method."
        truth = f"Traits({self.trait}={not declared})"
        return f"\nIts traits declare {self.trait}={declared}: declare {truth} if it is meant so, or mend the method."

    def __str__(self) -> str:
        return f"{self.method.name}-{self.name}"


def check_method(method: Method) -> None:
    """Run every check that applies to `method`.

    >>> import mtlgrad
    >>> check_method(mtlgrad.GH())
    """
    for check in checks_for(method):
        check()


def checks_for(method: Method) -> list[Check]:
    """The checks that apply to `method`, by its kind and its traits."""
    traits = method.traits
    gram = isinstance(method, GramAggregator)
    applicable: dict[str, tuple[Callable[[Any], None], bool, str | None]] = {
        "is a value": (contracts.is_a_value, True, None),
        "keeps shape, dtype and input": (contracts.keeps_shape, True, None),
        "exact for gradients as given": (contracts.exact_as_given, not traits.stochastic, None),
        "finite on hard input": (contracts.finite, True, None),
        "rejects bad input": (contracts.rejects, True, None),
        "rejects a wrong number of tasks": (
            contracts.rejects_tasks,
            traits.min_tasks > 1 or traits.max_tasks is not None,
            "min_tasks" if traits.max_tasks is None else "max_tasks",
        ),
        "rejects what is no Gramian": (contracts.rejects_grams, gram, None),
        "results are detached": (contracts.detached, True, None),
        "asks for losses": (contracts.asks_for_losses, traits.needs_losses, "needs_losses"),
        "asks for features": (contracts.asks_for_features, traits.needs_features, "needs_features"),
        "weights give the direction": (contracts.weights_agree, gram, None),
        "parts give the weights": (contracts.parts_agree, isinstance(method, HarmonizingAggregator), None),
        "same generator, same answer": (contracts.reproducible, True, None),
        "leaves the global generator alone": (contracts.no_global_draws, True, None),
        "stochastic as declared": (promises.draws_as_declared, True, "stochastic"),
        "reads losses as declared": (promises.reads_losses_as_declared, True, "needs_losses"),
        "non-conflicting": (promises.non_conflicting, traits.non_conflicting, "non_conflicting"),
        "permutation equivariant": (
            promises.permutation,
            traits.permutation_equivariant and not traits.stochastic,
            "permutation_equivariant",
        ),
        "permutation equivariant in the mean": (
            promises.permutation_in_mean,
            traits.permutation_equivariant and traits.stochastic,
            "permutation_equivariant",
        ),
        "scale equivariant": (promises.scale_equivariant, traits.scale_equivariant, "scale_equivariant"),
        "scale invariant": (promises.scale_invariant, traits.scale_invariant, "scale_invariant"),
        "simplex": (promises.simplex, traits.simplex, "simplex"),
        "sums without conflict": (promises.sums, traits.sums_without_conflict, "sums_without_conflict"),
        "state in, state out": (contracts.state_is_explicit, True, "stateful"),
        "keeps no view of its input": (contracts.keeps_no_view, True, None),
        "no host synchronisation for a pair": (
            contracts.no_sync,
            gram and traits.closed_form_pair and 2 in range(traits.min_tasks, (traits.max_tasks or 2) + 1),
            "closed_form_pair",
        ),
    }
    return [Check(name, method, verify, trait) for name, (verify, applies, trait) in applicable.items() if applies]
