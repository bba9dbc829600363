"""What a Balancer remembers from step to step: the method's state, what it draws from, how many steps there were."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtlgrad.aggregators.base import JacobianAggregator
from mtlgrad.gradients import places_in_memory
from mtlgrad.method import Method, State
from mtlgrad.states import (
    Columns,
    blank_states,
    check_draws,
    check_saved,
    check_states,
    first_states,
    from_memory_order,
    picked,
    put_back,
    refitted,
)


class Memory:
    """States of a method, one for each group of the shared parameters, and its generator."""

    def __init__(self, method: Method, shared: Sequence[Tensor], group_sizes: Sequence[int] | None, seed: int) -> None:
        self.steps = 0
        self._method, self._shared, self._seed = method, shared, seed
        self._group_sizes = [len(shared)] if group_sizes is None else group_sizes
        self._states: list[State] | None = None
        self._columns: Columns | None = None  # those of J that the states are about
        self._place: torch.device | None = None  # where the generator draws
        self._generator = torch.Generator()

    def columns(self) -> Columns:
        """Which shared parameters J has columns for now, group by group, and how many."""
        rest = iter(enumerate(self._shared))
        groups = [[next(rest) for _ in range(count)] for count in self._group_sizes]
        return [{k: p.numel() for k, p in group if p.requires_grad} for group in groups]

    def states(self, m: int, present: Sequence[int]) -> list[State] | None:
        """The states where the `present` of m tasks meet them; None: there was no step yet."""
        if self._states is None:
            return None
        states = self._fitting(m)
        return states if len(present) == m else picked(self._method, states, m, present)

    def keep(self, states: Sequence[State], m: int, present: Sequence[int]) -> None:
        """What a step of the `present` tasks ended with; what belongs to absent ones stays as it was."""
        columns = self.columns()
        if len(present) < m:
            widths = [sum(group.values()) for group in columns]
            old = first_states(self._method, m, widths, states) if self._states is None else self._fitting(m)
            states = put_back(self._method, old, m, present, states)
        self._states, self._columns = list(states), columns

    def source(self) -> torch.Generator:
        """What the method draws from: on the host, m numbers at most, or for Jacobian methods where J is."""
        jacobian = isinstance(self._method, JacobianAggregator)
        place = self._shared[0].device if jacobian else torch.device("cpu")
        if place != self._place:  # the first call, or the model has moved: its old draws mean nothing elsewhere
            self._place, self._generator = place, torch.Generator(place).manual_seed(self._seed)
        return self._generator

    def save(self) -> dict[str, Any]:
        return {
            "states": self._states,
            "columns": self._columns,
            "order": "row-major",
            "generator": self.source().get_state(),
            "steps": self.steps,
        }

    def load(self, saved: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[str, ...] | None:
        """The saved tasks, once `saved` is known to be of a Balancer like `own` and was taken over."""
        tasks = check_saved(saved, own)
        columns = saved.get("columns") or self.columns()
        if saved["states"] is not None:
            # Of parameters that are frozen here and were not there, or the other way round, the states still fit.
            sizes = dict(enumerate(p.numel() for p in self._shared))
            widths = [sum(sizes.get(k, 0) for k in group) for group in columns]
            check_states(saved["states"], blank_states(self._method, len(tasks or ()), widths))
        same_kind = check_draws(self._method, saved["generator"], self.source())
        states = copy.deepcopy(saved["states"])
        if states is not None and "order" not in saved:
            # Of an earlier version: columns lay as parameters did in memory, and now do, for it does not say how.
            places = [places_in_memory(p) for p in self._shared]
            states = from_memory_order(self._method, states, len(tasks or ()), columns, places)
        self._states, self._columns = states, copy.deepcopy(columns)
        if same_kind:
            self._generator.set_state(saved["generator"].cpu())
        self.steps = saved["steps"]
        return tasks

    def _fitting(self, m: int) -> list[State]:
        assert self._states is not None
        assert self._columns is not None
        return refitted(self._method, self._states, m, self._columns, self.columns())
