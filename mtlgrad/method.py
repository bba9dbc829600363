"""What every method of the zoo is: a value with declared traits and explicit state.

Three kinds derive from `Method`, told apart by what they read:
`Scalarizer` (losses), `GramAggregator` (the Gramian) and `JacobianAggregator` (the Jacobian itself).
"""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from mtlgrad.hyperparameters import plain
from mtlgrad.spaces import Space

State = dict[str, Any]
"""A method's state: names to tensors. Empty for a stateless method."""

Reads = Literal["losses", "gram", "jacobian"]

LOSS_FLOOR = 1e-12
"""What a loss counts for at least, relative to the largest: far below any loss that training still lowers."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a method promises; the conformance suite checks each promise and the docs print it.

    Here d is the direction for the Jacobian J [m, n], and w its weights where it has any.
    """

    non_conflicting: bool = False
    """(J d)_i >= 0 for every task i: a small step raises no loss."""
    permutation_equivariant: bool = True
    """Renaming the tasks does not change d."""
    scale_equivariant: bool = True
    """d(s J) = s d(J) for s > 0."""
    scale_invariant: bool = False
    """d(s J) = d(J) for s > 0 (stated instead of, never beside, `scale_equivariant`)."""
    simplex: bool = False
    """w >= 0 and w sums to 1."""
    sums_without_conflict: bool = False
    """d is the plain sum of the rows when no pair of tasks conflicts."""
    stochastic: bool = False
    """Draws from `generator`."""
    stateful: bool = False
    """Carries state from step to step."""
    closed_form_pair: bool = False
    """For m = 2 the weights are computed where the Gramian lives, with no host synchronisation."""
    needs_losses: bool = False
    """Reads the loss values beside the gradients."""
    needs_features: bool = False
    """Works at the shared representation: J holds gradients at z, and z itself is read."""
    min_tasks: int = 1
    max_tasks: int | None = None

    def __post_init__(self) -> None:
        if self.scale_equivariant and self.scale_invariant:
            raise ValueError("scale_equivariant and scale_invariant exclude each other; declare one")


class Method(ABC):
    """Root of the zoo. Members are frozen dataclasses: hyperparameters are fields, compared by value.

    Whatever a method returns (directions, weights, parts, states) is detached: a decision is a constant of its step,
    whether J, G or the losses carry a graph or not.
    """

    reads: ClassVar[Reads]
    per_task: ClassVar[tuple[str, ...]] = ()
    """Hyperparameters that may be tuples with one number for each task."""
    of_task: ClassVar[tuple[str, ...]] = ()
    """Hyperparameters that are the index of one task, without which there is no decision."""
    search_space: ClassVar[Mapping[str, Space]] = {}
    """Where each hyperparameter that a comparison may tune is looked for; the defaults are in it.

    What says which problem is meant (the main task, known optima, the length of an epoch) is not tuned.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Have each member's `__post_init__` meet plain numbers."""
        super().__init_subclass__(**options)
        check = cls.__dict__.get("__post_init__")
        if check is not None:

            @functools.wraps(check)
            def plain_then_check(self: Method, *arguments: Any) -> None:
                Method.__post_init__(self)
                check(self, *arguments)

            cls.__post_init__ = plain_then_check  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        """Make Python's of NumPy's and other libraries' numbers: they compare, print and go into JSON alike."""
        for one in dataclasses.fields(self):  # type: ignore[arg-type]  # every member is a dataclass
            object.__setattr__(self, one.name, plain(getattr(self, one.name)))

    @property
    @abstractmethod
    def traits(self) -> Traits:
        """What this member promises, with these hyperparameters. Most members state it as a class attribute."""

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        """The state before the first step for `m` tasks: empty unless the method is stateful.

        Parameters
        ----------
        m:
            Number of tasks.
        device:
            Where the method will be fed from; tensors in the state live there. None: the CPU.
        """
        return {}

    @property
    def name(self) -> str:
        """The class name with the hyperparameters that differ from their defaults, e.g. ``CAGrad(c=0.4)``."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every member is a dataclass
        shown = [f for f in fields if f.default is dataclasses.MISSING or getattr(self, f.name) != f.default]
        inner = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in shown)
        return f"{type(self).__name__}({inner})" if inner else type(self).__name__

    def among(self, present: Sequence[int]) -> Self:
        """This method for the tasks at the positions `present` alone, their hyperparameters with them.

        What belongs to one task each (`per_task`, and those of an inner method) is picked out, the index of a task
        (`of_task`) is where that task is now; the rest stays.

        Raises
        ------
        ValueError
            Where the one task that the method is about is absent, or all that are preferred.

        Examples
        --------
        >>> from mtlgrad import PCD, Fixed
        >>> Fixed((1.0, 0.5, 2.0)).among([0, 2])
        Fixed(weights=(1.0, 2.0))
        >>> PCD(main=2).among([0, 2])
        PCD(tau=0.02, main=1, beta=0.999, eps=1e-08)
        """
        changed: dict[str, Any] = {}
        for one in dataclasses.fields(self):  # type: ignore[arg-type]  # every member is a dataclass
            value = getattr(self, one.name)
            if isinstance(value, Method):
                changed[one.name] = value.among(present)
            elif one.name in self.per_task and isinstance(value, list | tuple):
                changed[one.name] = tuple(value[k] for k in present)
                if one.name == "preference" and not any(changed[one.name]):
                    raise ValueError(
                        f"{self.name} prefers none of the tasks that have a loss at this step, numbers "
                        f"{', '.join(map(str, present))}: leave such batches out, or prefer every task a little"
                    )
            elif one.name in self.of_task:
                if value not in present:
                    raise ValueError(
                        f"{self.name} is about task number {value} ({one.name}={value}), and that has no loss at this "
                        "step: leave such batches out"
                    )
                changed[one.name] = list(present).index(value)
        return dataclasses.replace(self, **changed) if changed else self  # type: ignore[type-var]

    def check_tasks(self, m: int) -> None:
        """Raise ValueError when this method is not defined for `m` tasks."""
        low, high = self.traits.min_tasks, self.traits.max_tasks
        if m < low or (high is not None and m > high):
            allowed = f"exactly {low}" if low == high else f"at least {low}" if high is None else f"{low} to {high}"
            raise ValueError(f"{type(self).__name__} is defined for {allowed} tasks, got m={m}")

    def check_values(self, losses: Tensor) -> None:  # noqa: B027 - most are defined for any
        """Raise ValueError where the method is not defined for these losses [m].

        Of a method that reads gradients the `Balancer` asks this before it computes any, so that a refused step leaves
        nothing behind; `step` refuses them too.
        """


def check_losses(method: Method, losses: Tensor | None, m: int | None = None) -> None:
    """Raise when `losses` is missing though `method` needs it, or is not a vector of `m` floats."""
    if losses is None:
        if method.traits.needs_losses:
            raise ValueError(f"{type(method).__name__} needs losses=, a tensor of shape [m]; got None")
        return
    if not isinstance(losses, Tensor):
        raise TypeError(f"losses must be a torch.Tensor of shape [m], got {type(losses).__name__}")
    if losses.ndim != 1 or losses.numel() == 0 or (m is not None and losses.shape[0] != m):
        wanted = "[m] with m >= 1" if m is None else f"[{m}]"
        raise ValueError(f"losses must have shape {wanted}, got {list(losses.shape)}")
    if not losses.is_floating_point():
        raise TypeError(f"losses must be floating point, got {losses.dtype}")


def positive(method: Method, losses: Tensor) -> Tensor:
    """Losses [m] as a method that divides by them or takes their logarithm reads them: float64, all > 0.

    A loss below 1e-12 of the largest is read as that, so that a task that has arrived (a hinge at 0) keeps its
    weight finite and leaves the others theirs; all zero are read as 1. Infinite and NaN losses go through.

    Raises
    ------
    ValueError
        Naming the method and the losses where one is negative: it has no logarithm.
    """
    wide = losses.detach().to(torch.float64)
    if bool((wide < 0).any()) and bool(wide.isfinite().all()):
        raise ValueError(f"{type(method).__name__} is defined for losses >= 0, got losses={wide.tolist()}")
    largest = wide.max()
    floor = (LOSS_FLOOR * largest).clamp(min=torch.finfo(wide.dtype).tiny)  # of subnormal losses it would vanish
    return torch.where(largest > 0, torch.maximum(wide, floor), 1.0)


def check_generator(generator: torch.Generator | None) -> None:
    """Raise TypeError unless `generator` is None or a torch.Generator."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator or None, got {type(generator).__name__}")


def sized(traits: Traits, *vectors: object) -> Traits:
    """`traits` for the number of tasks that the `vectors` (tuples, or anything else for "any number") are made for.

    Raises
    ------
    ValueError
        Where they are of different lengths.
    """
    sizes = [len(vector) for vector in vectors if isinstance(vector, tuple)]
    if not sizes:
        return traits
    if len(set(sizes)) > 1:
        raise ValueError(f"preference and ideal must hold one number per task, got {sizes} numbers")
    (m,) = set(sizes)
    pair = traits.closed_form_pair and m == 2
    return dataclasses.replace(traits, permutation_equivariant=False, closed_form_pair=pair, min_tasks=m, max_tasks=m)
