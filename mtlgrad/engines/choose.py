"""The one place that chooses how a call is served: the cheapest engine that serves it exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtlgrad.engines.at_features import AtFeatures
from mtlgrad.engines.base import Call, Cost, Engine
from mtlgrad.engines.in_blocks import InBlocks
from mtlgrad.engines.layerwise import Layerwise
from mtlgrad.engines.memory import free_memory
from mtlgrad.engines.per_task import PerTask
from mtlgrad.engines.scalarized import Scalarized
from mtlgrad.engines.settled import Settled
from mtlgrad.engines.sharded import Sharded

ENGINES: tuple[type[Engine], ...] = (Scalarized, Settled, AtFeatures, Layerwise, PerTask, InBlocks, Sharded)
"""Every way there is. Of two that cost the same the first is taken."""

_LOOKED_AFTER = 1 << 28  # bytes; what is less is taken without asking how much is free


@dataclass(frozen=True)
class Choice:
    """Which engine served a call, and why the others did not."""

    name: str
    cost: Cost
    others: Mapping[str, str]
    """Name of each other engine to the reason."""

    def __str__(self) -> str:
        reasons = "".join(f"\n  not {name}: {reason}" for name, reason in self.others.items())
        return f"{self.name} ({self.cost.passes:.3g} backward passes, {_size(self.cost.memory)} extra){reasons}"


def choose(call: Call, engines: Sequence[Engine]) -> tuple[Engine, Choice]:
    """The engine for `call`, and the account of the choice.

    Raises
    ------
    ValueError
        Where no engine can, with each one's reason.
    """
    if call.window is not None:
        engine = call.window.engine
        others = {one.name: "the window of micro-batches was begun otherwise" for one in engines if one is not engine}
        return engine, Choice(engine.name, engine.cost(call), others)
    kind = call.processes.kind
    reasons = {
        engine: engine.refuses(call) or (None if kind in engine.processes else _AMONG[kind]) for engine in engines
    }
    costs = {engine: engine.cost(call) for engine, reason in reasons.items() if reason is None}
    if not costs:
        told = "; ".join(f"{engine.name}: {reason}" for engine, reason in reasons.items())
        raise ValueError(f"no way to serve this call: {told}")
    best = min(costs, key=lambda engine: (costs[engine].memory if call.memory == "lean" else 0, costs[engine]))
    accounts = {
        engine: f"{cost.passes:.3g} backward passes, {_size(cost.memory)} extra" for engine, cost in costs.items()
    }
    free = free_memory(call.shared[0].device) if costs[best].memory > _LOOKED_AFTER else None
    if free is not None and costs[best].memory > free:
        # Too long a step is better than none.
        accounts[best] += f", and {_size(free)} are free"
        best = min(costs, key=lambda engine: (costs[engine].memory, costs[engine]))
    others = {engine.name: reason or accounts[engine] for engine, reason in reasons.items() if engine is not best}
    return best, Choice(best.name, costs[best], others)


_AMONG = {
    "one": "parameters are not sharded",
    "replicated": "gradients are averaged over the processes before they are compared",
    "sharded": "parameters are sharded over the processes",
}
"""Why an engine that is not made for such processes does not serve."""


def _size(bytes_: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if bytes_ < 1024:
            return f"{bytes_:.3g} {unit}"
        bytes_ /= 1024
    return f"{bytes_:.3g} GiB"
