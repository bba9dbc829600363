"""What an engine is: one way from the losses of a call to a decision to `.grad`."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mtlgrad.decision import Decision
from mtlgrad.engines.processes import Kind, Processes
from mtlgrad.losses import Scale
from mtlgrad.method import Method, State


@dataclass(frozen=True)
class Window:
    """The micro-batches so far."""

    values: Mapping[int, Tensor]
    """Position of each task that had a loss to the sum [] of its losses."""
    count: int
    of: int | None
    """How many there will be, the one that ends the window included; None: not known."""
    scale: Scale | None
    engine: Engine
    """Who took the first one, and takes all of them."""
    held: Any
    """What that engine keeps of them."""


@dataclass(frozen=True)
class Call:
    """Everything one call of the Balancer is about; engines read it and change nothing in it.

    Tasks without a loss are left out: methods, losses, values and states are those of the tasks that are present.
    """

    method: Method
    names: Sequence[str]
    """Of the losses."""
    losses: Sequence[Tensor]
    """[] each, multiplied by the scale, in task order: what is back-propagated."""
    positions: Sequence[int]
    """Where each of the losses stands among all tasks."""
    anywhere: Sequence[int]
    """The tasks that have a loss in this call, on this rank or another."""
    present: Sequence[int]
    """The tasks that the decision is about: `anywhere`, and inside a window those of earlier micro-batches."""
    tasks: int
    """How many tasks there are, absent ones included."""
    values: Tensor
    """The losses of the present tasks without the scale [m], those of earlier micro-batches added."""
    scale: Tensor | None
    """[]; what the losses were multiplied by, and every `.grad` is to hold."""
    shared: Sequence[Tensor]
    """The shared parameters, each once."""
    trainable: Sequence[Tensor]
    """Those of them that require a gradient: J has columns for no others."""
    modules: Sequence[nn.Module]
    """The modules that `shared=` was given, if any: their parameters are among `shared`."""
    private: Sequence[Tensor] | None
    """Which other parameters may get a gradient; None: every leaf that the losses reach."""
    apply: Literal["shared", "loss"]
    memory: Literal["fast", "lean"]
    """What an engine is to be cheap in: backward passes, or memory."""
    groups: Sequence[int] | None
    """How many of the trainable parameters each group has, in order; None: one decision for all."""
    features: Sequence[Tensor] | None
    """The representations at which to decide."""
    states: Sequence[State] | None
    """The method's state, one per group; None: this is the first step."""
    draws: torch.Generator
    """What the method draws from."""
    window: Window | None
    """The micro-batches before this one."""
    of: int | None
    """Of an `accumulate`: how many micro-batches there will be, where that is known."""
    ends: bool
    """Whether a decision is due: `backward`. False: `accumulate`, the decision waits for later micro-batches."""
    diagnose: bool
    """Whether G is to be measured though the method may not need it."""
    retain_graph: bool
    processes: Processes
    """What this process and the others that train the same parameters tell each other."""

    @property
    def device(self) -> torch.device:
        """Where the shared parameters are."""
        return self.shared[0].device

    @property
    def rows(self) -> list[int]:
        """Where each of the losses stands among the present tasks."""
        return [self.present.index(k) for k in self.positions]

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """First and last (not included) number of the trainable parameters of each group."""
        ends = list(itertools.accumulate([len(self.trainable)] if self.groups is None else self.groups))
        return list(zip([0, *ends], ends, strict=False))

    def inputs(self) -> list[Tensor] | None:
        """Which parameters a backward pass may reach; None: all of them."""
        if self.private is None:
            return None
        return [*self.trainable, *(p for p in self.private if p.requires_grad)]


@dataclass(frozen=True)
class Outcome:
    """What an engine hands back once `.grad` holds the update."""

    decision: Decision
    states: Sequence[State]
    """The method's state after the step, one per group."""
    settled: bool = False
    """The weights were known before the gradients: the method was not asked about these."""
    separate: bool = False
    """No shared parameter had a gradient from more than one task, though several tasks had gradients."""


@dataclass(frozen=True, order=True)
class Cost:
    """What one call would cost; the smaller is taken, passes first."""

    passes: float
    """Backward passes through the whole graph, or the work of so many."""
    memory: int
    """Bytes beside the parameters, their gradients and the graph."""


class Engine(ABC):
    """One way to serve a call: it says whether it can and what it would cost, and does it.

    A Balancer has one object of every class in `choose.ENGINES`, which may keep buffers from step to step and must not
    keep anything that a step depends on: pickling and copying a Balancer leaves engines behind.
    """

    name: ClassVar[str]
    """In words, as `Balancer.engine` shows it."""
    processes: ClassVar[tuple[Kind, ...]] = ("one",)
    """How the processes may be among which it works."""

    @abstractmethod
    def refuses(self, call: Call) -> str | None:
        """Why this engine cannot serve the call exactly; None: it can."""

    @abstractmethod
    def cost(self, call: Call) -> Cost:
        """Asked only where `refuses` gave None."""

    @abstractmethod
    def run(self, call: Call) -> Outcome:
        """Add the update to `.grad`: the direction, and the private parameters' gradients."""

    def collect(self, call: Call) -> Any:
        """Take a micro-batch that does not end its window; what is returned comes back as `call.window.held`.

        Only asked of an engine that does not refuse calls with `ends=False`.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no micro-batches")
