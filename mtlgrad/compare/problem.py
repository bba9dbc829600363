"""What a problem is to the training loop: data, phases, an evaluation.

A problem owns its networks, optimizers and data. Each training step it *yields* phases; the loop zeroes the gradients,
computes new ones, steps, and only then resumes the problem, which may therefore compute the next phase's losses on the
updated parameters. GAN-like and alternating methods are thus plain code in the problem; the loop knows none of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Phase:
    """One update: losses in, one optimizer step out.

    Parameters
    ----------
    name:
        Names the phase in records; each phase with several losses has a Balancer of its own, kept under this name.
    losses:
        Task name to scalar loss. One loss is plainly back-propagated; several go through the Balancer, in this order
        (for the methods in which order matters, task 1 comes first).
    optimizers:
        What is zeroed before and stepped after. Parameters outside these optimizers keep no gradient from this phase.
    shared:
        The parameters that the losses pull on together; needed when there are several losses.
    apply:
        How the Balancer's weights act, as in `mtlgrad.Balancer`: "shared" combines the gradients of the shared
        parameters and leaves private ones their own; "loss" multiplies whole losses.
    groups:
        None: one decision for all shared parameters. "tensor": one per parameter tensor, as in `mtlgrad.Balancer`.
    """

    name: str
    losses: Mapping[str, Tensor]
    optimizers: Sequence[torch.optim.Optimizer]
    shared: Sequence[nn.Parameter] = ()
    apply: Literal["shared", "loss"] = "shared"
    groups: Literal["tensor"] | None = None


@dataclass(frozen=True)
class Outline:
    """What is known of a phase beforehand."""

    losses: int
    """How many losses it has."""
    groups: Literal["tensor"] | None = None
    """As in `Phase`."""


class Problem(ABC):
    """An experiment: what is trained, on what, and how it is judged.

    A problem is built from its options alone (keyword arguments, all with defaults, echoed in `options`), and becomes
    live in `setup`. Everything random in it comes from the `seed` given there.
    """

    name: str
    """As the command line says it."""
    metric: str
    """The main metric, a key of what `evaluate` returns. Higher is better."""

    @abstractmethod
    def setup(self, *, seed: int, device: torch.device) -> None:
        """Make data, networks and optimizers. Called once, before anything else."""

    @property
    def options(self) -> dict[str, Any]:
        """The options this problem was built with, JSON-ready: the fields of a dataclass, which most problems are."""
        return {field.name: getattr(self, field.name) for field in fields(cast(Any, self))}

    @property
    def outlines(self) -> Mapping[str, Outline]:
        """The phases with several losses, by name, as far as the options decide them; a suite is checked by it.

        What is said here is held to: a phase that turns out otherwise is an error. Empty: nothing is known beforehand.
        """
        return {}

    @property
    @abstractmethod
    def total_steps(self) -> int:
        """Training steps in a full run."""

    @abstractmethod
    def step(self, index: int) -> Iterator[Phase]:
        """Training step `index` (0-based): yield its phases in order. The problem draws its own mini-batches."""

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Metrics now, on held-out data. Leaves networks in training mode and the training randomness untouched."""

    @abstractmethod
    def validation_score(self) -> float | None:
        """A score for choosing a checkpoint that sees no target or test label; None where there is none.

        It decides which evaluation is reported as `best`; `final` is always the last.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs: networks, optimizers, schedulers, samplers, random generators."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo `state_dict`, after `setup` with the same options and seed."""

    def exhibits(self) -> dict[str, Any]:
        """What a reader should see after training beside the numbers (sample images, trajectories); JSON-ready.

        Shown in the report by kind: {"title": {"kind": "images" | "lines" | "trajectories", ...}}. Of kind "data" is
        what analyses need and a report does not show. Empty by default.
        """
        return {}
