"""Parameters in shards over the processes, as `torch.distributed.fsdp.fully_shard` (FSDP2) has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from mtlgrad.aggregators.base import ElementwiseAggregator, GramAggregator
from mtlgrad.decision import Decision
from mtlgrad.engines.asking import ask, ask_from_grams
from mtlgrad.engines.base import Call
from mtlgrad.engines.per_task import PerTask
from mtlgrad.gradients import TaskGradients
from mtlgrad.linalg import combine
from mtlgrad.method import State

if TYPE_CHECKING:
    from mtlgrad.engines.shards import Shards

_WIDEN = 1 << 20  # columns widened to float64 at a time


class Sharded(PerTask):
    """One pass a task; J stays in shards for methods that read the Gramian or work element by element.

    A method that reads whole rows of J, or draws a number for each entry, gets J gathered on every rank: m times the
    shared parameters of memory, which sharding was to save.
    """

    name = "one pass a task, in shards"
    processes = ("sharded",)

    def refuses(self, call: Call) -> str | None:
        if call.apply == "loss":
            return (
                "apply='loss' needs passes into the shared parameters alone, and FSDP's reach all: use apply='shared'"
            )
        return super().refuses(call)

    def _parts(self, call: Call) -> list[Tensor]:
        return [_shards(call).local(p) for p in call.trainable]

    def _read(self, call: Call, gradient: Tensor | None) -> Tensor | None:
        return None if gradient is None else _shards(call).local(gradient)

    def _collect(self, call: Call, rows: Sequence[int], *, retain_graph: bool) -> TaskGradients:
        found = super()._collect(call, rows, retain_graph=retain_graph)
        if call.trainable and len(found.untouched) == len(call.trainable):
            raise ValueError(
                "no sharded parameter got a gradient: is gradient synchronisation off, by set_requires_gradient_sync"
                "(False) or accelerate's accumulate()? Rows of J must be averaged pass by pass: leave it on, also for "
                "the micro-batches of Balancer.accumulate"
            )
        return found

    def _decide(self, call: Call, gradients: TaskGradients, rows: Sequence[int]) -> tuple[Decision, list[State]]:
        processes, blocks = _shards(call), gradients.block_matrices(rows)
        if isinstance(call.method, GramAggregator):
            grams = [processes.summed_over_shards(_gram(block)) for block in blocks]
            decision, states = ask_from_grams(call, grams)
            assert decision.weights is not None
            weights = decision.weights if call.groups is not None else decision.weights[None]
            direction = torch.cat([combine(*one) for one in zip(weights, blocks, strict=True)])
            return replace(decision, direction=direction), states
        if isinstance(call.method, ElementwiseAggregator) and not call.method.traits.stochastic:
            return self._by_element(call, processes, blocks)
        return self._gathered(call, processes, gradients, rows)

    def _by_element(self, call: Call, processes: Shards, blocks: Sequence[Tensor]) -> tuple[Decision, list[State]]:
        """A method that needs no other column to decide about one: each rank decides about its own."""
        assert isinstance(call.method, ElementwiseAggregator)
        grams = [processes.summed_over_shards(_gram(block)) for block in blocks]
        finite = torch.stack([gram.isfinite().all() for gram in grams]).all() & call.values.isfinite().all()
        parts: list[Tensor] = []
        for block in blocks:
            if block.shape[1] and bool(finite):
                parts.append(call.method.step(block, {}, losses=call.values, generator=call.draws)[0])
            else:
                parts.append(block.sum(0))
        told = torch.stack([processes.summed_over_shards(_seen(*one)) for one in zip(blocks, parts, strict=True)]).sum(
            0
        )
        decision = Decision(
            finite=finite,
            direction=torch.cat(parts),
            gram=torch.stack(grams).sum(0),
            alignment=told[:-1],
            direction_norm=told[-1].sqrt(),
        )
        return decision, [{} for _ in blocks]

    def _gathered(
        self, call: Call, processes: Shards, gradients: TaskGradients, rows: Sequence[int]
    ) -> tuple[Decision, list[State]]:
        """A method that reads whole rows: every rank sees them all, decides alike and keeps its part."""
        whole: list[Tensor] = []
        for pieces, p in zip(zip(*[gradients.rows(row) for row in rows], strict=True), call.trainable, strict=True):
            whole.append(processes.rows(torch.stack(pieces), p))
        counts = [len(whole)] if call.groups is None else list(call.groups)
        firsts = [sum(counts[:k]) for k in range(len(counts))]
        decision, states = ask(
            call, [torch.cat(whole[k : k + count], dim=1) for k, count in zip(firsts, counts, strict=True)]
        )
        assert decision.direction is not None
        parts = [
            processes.part(piece.view(p.shape)).reshape(-1)
            for piece, p in zip(
                decision.direction.split([p.numel() for p in call.trainable]), call.trainable, strict=True
            )
        ]
        return replace(decision, direction=torch.cat(parts)), states

    def _pieces(self, call: Call, gradients: TaskGradients, direction: Tensor) -> Iterator[Tensor | None]:
        for piece, p in zip(gradients.split(direction), call.trainable, strict=True):
            yield None if piece is None else _shards(call).joined_up(piece, p)


def _shards(call: Call) -> Shards:
    """The processes, which are of this kind: others are not offered to this engine."""
    return cast("Shards", call.processes)


def _gram(block: Tensor) -> Tensor:
    """The part of G [m, m] that this rank's columns contribute, in float64: what is small may be so over all ranks."""
    total = block.new_zeros(len(block), len(block), dtype=torch.float64)
    for part in block.split(_WIDEN, dim=1):
        wide = part.double()
        total += wide @ wide.T
    return total


def _seen(block: Tensor, direction: Tensor) -> Tensor:
    """This rank's part of J d [m] and of |d|^2, as one vector in float64."""
    wide = direction.double()
    return torch.cat([block.double() @ wide, wide.square().sum()[None]])
