"""From what a Balancer was built with, and what a call is given, to the `Call` that engines serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mtlgrad.engines.base import Call, Window
from mtlgrad.engines.processes import Processes
from mtlgrad.losses import Losses, Scale, check_losses, check_scale, named, representations, scale_factor
from mtlgrad.memory import Memory
from mtlgrad.method import Method


@dataclass(frozen=True)
class Setup:
    """What a Balancer was built with, once it is known to be right; the meaning of each is `Call`'s."""

    method: Method
    modules: Sequence[nn.Module]
    shared: Sequence[Tensor]
    private: Sequence[Tensor] | None
    apply: Literal["shared", "loss"]
    memory: Literal["fast", "lean"]
    group_sizes: Sequence[int] | None
    """How many of the shared parameters each group has, frozen ones included; None: one decision for all."""
    diagnose_every: int

    def call(
        self,
        losses: Losses,
        scale: Scale | None,
        tasks: tuple[str, ...] | None,
        remembered: Memory,
        window: Window | None,
        processes: Processes,
        *,
        features: Tensor | Sequence[Tensor] | None = None,
        retain_graph: bool = False,
        of: int | None = None,
        ends: bool = True,
    ) -> tuple[Call, tuple[str, ...]]:
        """What is asked for, of the tasks that are present and in their order, once it is known to be right.

        With the names of all tasks; those of this call where `tasks` is None.
        """
        told = [f"a {'last' if ends else 'further'} micro-batch", self.method.name, self.apply]
        with processes.together(told):
            given = named(losses, tasks)
            tasks = check_losses(given, tasks)
            self.method.check_tasks(len(tasks))
            found = [(k, loss) for k, name in enumerate(tasks) if (loss := given.get(name)) is not None]
            told.append(f"tasks {', '.join(tasks)}")
            if window is not None:
                check_scale(scale, window.scale)
            at = representations(self.method, features, window is not None, self.group_sizes is not None)
        values, shares = processes.tell({k: loss.detach().reshape(()) for k, loss in found}, len(tasks))
        graph = [loss.reshape(()) * shares[k] if k in shares else loss.reshape(()) for k, loss in found]
        anywhere = list(values)
        if window is not None:
            values = {k: _sum(window.values.get(k), values.get(k)) for k in sorted({*window.values, *values})}
        factor = scale_factor(scale, graph[0])
        present = list(values)
        method = self.method
        if len(present) < len(tasks):
            method = method.among(present)
            method.check_tasks(len(present))
        call = Call(
            method=method,
            names=[tasks[k] for k, _ in found],
            losses=graph if factor is None else [factor * loss for loss in graph],
            positions=[k for k, _ in found],
            anywhere=anywhere,
            present=present,
            tasks=len(tasks),
            values=torch.stack(list(values.values())),
            scale=factor,
            shared=self.shared,
            trainable=[p for p in self.shared if p.requires_grad],
            modules=self.modules,
            private=self.private,
            apply=self.apply,
            memory=self.memory,
            groups=None if self.group_sizes is None else [len(group) for group in remembered.columns()],
            features=at,
            states=remembered.states(len(tasks), present),
            draws=remembered.source(),
            window=window,
            of=of,
            ends=ends,
            diagnose=window is None and self._due(remembered.steps),
            retain_graph=retain_graph,
            processes=processes,
        )
        return call, tasks

    def _due(self, step: int) -> bool:
        """Whether this step measures the Gramian though it need not (of a window the earlier graphs are gone)."""
        return self.diagnose_every > 0 and step % self.diagnose_every == 0


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor:
    found = [loss for loss in (one, other) if loss is not None]
    return torch.stack(found).sum(0)
