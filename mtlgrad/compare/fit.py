"""Whether a method fits a problem: told before anything runs, where the problem says what its phases are."""

from __future__ import annotations

from mtlgrad import Method, Scalarizer
from mtlgrad.compare.problem import Problem


def check_fit(problem: Problem, method: Method) -> None:
    """ValueError where a phase of the problem cannot be decided by the method."""
    for name, outline in problem.outlines.items():
        try:
            method.check_tasks(outline.losses)
        except ValueError as error:
            raise ValueError(
                f"phase {name!r} of problem {problem.name!r} has {outline.losses} losses: {error}"
            ) from error
        if outline.groups is not None and isinstance(method, Scalarizer):
            raise ValueError(
                f"phase {name!r} of problem {problem.name!r} asks for a decision per {outline.groups} "
                f"(groups={outline.groups!r}), and {method.name} decides from losses alone: give the row a problem "
                "option that makes one decision"
            )
