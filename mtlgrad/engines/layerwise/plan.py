"""What to do about each shared parameter of a step, decided by the price of each way, before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from mtlgrad.engines.graph import Graph, Node, above, bottlenecks, read, shape_of
from mtlgrad.engines.layerwise import products
from mtlgrad.engines.layerwise.samples import keeps_samples_apart
from mtlgrad.engines.layerwise.uses import Use, uses

Way = Literal["kernel", "rows", "autograd"]
"""`kernel`: G from inner products of rows; `rows`: each task's gradient from rows; `autograd`: from torch."""

_WORTH = 4e6  # multiply-adds to be saved before the engine's own work, some 100 us of Python, is paid for
_SHARE = 0.1  # of all multiply-adds, to be saved too: prices are no truer than that
_WORTH_ON_ACCELERATOR = 1e10  # there the time of small layers is that of the many more calls


class Part(NamedTuple):
    """One shared parameter that the losses depend on."""

    number: int
    """Among the shared ones."""
    parameter: Tensor
    uses: Sequence[Use]
    way: Way
    price: float
    formed: float
    """The price of one whole pass a task, as far as this parameter goes."""


@dataclass(frozen=True)
class Plan:
    """How a step of m losses is served."""

    graph: Graph
    parts: Sequence[Part]
    """With one pass a task."""
    price: float
    """Multiply-adds, in all but the private parameters' layers."""
    plain: float
    """Those of one whole pass a task."""
    cut: Node | None = None
    """Where the m losses' gradients may be added up if they are of disjoint samples: all below keeps these apart."""
    owned: Sequence[Part] = ()
    """With one pass from the cut downwards."""

    @property
    def pays(self) -> bool:
        least = _WORTH if self.parts[0].parameter.is_cpu else _WORTH_ON_ACCELERATOR
        return self.plain - self.price > max(least, _SHARE * self.plain)


def plan(losses: Sequence[Tensor], shared: Sequence[Tensor], *, together: bool) -> Plan | str:
    """The cheapest way for `losses`, or why there is none.

    Parameters
    ----------
    together:
        Whether one pass for all losses may be planned, in the hope that they are of disjoint parts of the batch.
    """
    graph, m = read(losses), len(losses)
    if graph.opaque:
        return f"{graph.opaque} may use parameters where the graph does not show it"
    reached = [(index, p) for index, p in enumerate(shared) if p.requires_grad and id(p) in graph.leaves]
    # Vectors have their gradients formed in every case but one pass for all: the walk is not spent on them in vain.
    known = [uses(graph, p) if together or p.dim() > 1 else [] for _, p in reached]
    matrices = any(found and found[0].kind != "sum" for found in known)
    if not matrices and not (together and known and all(known)):
        return "no shared matrix is used in a way whose gradient is known by rows"
    through = sum(_passes(known))
    parts = [_part(index, p, found, m) for (index, p), found in zip(reached, known, strict=True)]
    plain = m * through + sum(part.formed for part in parts)
    best = Plan(graph, parts, m * through + sum(part.price for part in parts), plain)
    if not together or not all(known):
        return best
    if not best.pays:
        best = Plan(graph, [part._replace(way="autograd") for part in parts], plain, plain)
    owned = [_part_of_one_pass(part, m) for part in parts]
    price = through + sum(part.price for part in owned)
    if price < best.price:
        live = above(graph, [graph.leaves[id(p)] for _, p in reached])
        for cut in bottlenecks(graph, live):
            if keeps_samples_apart(graph, cut, live):
                return Plan(graph, best.parts, price, plain, cut, owned)
    return best


def _part(index: int, parameter: Tensor, found: Sequence[Use], m: int) -> Part:
    """With one pass a task, through the layers' outputs only where that pays."""
    if not found:
        formed = float(m * products.PRICE_OF_AN_ENTRY * parameter.numel())
        return Part(index, parameter, found, "autograd", formed, formed)
    sizes, lookup = _sizes(found), found[0].kind == "lookup"
    formed = products.price_of_gradients(*sizes, m, lookup=lookup)
    if found[0].kind != "sum":
        kernel = products.price_of_kernel(*sizes, m, lookup=lookup)
        if kernel < formed:
            return Part(index, parameter, found, "kernel", kernel, formed)
    return Part(index, parameter, found, "autograd", formed, formed)


def _part_of_one_pass(part: Part, m: int) -> Part:
    """With one pass for all: every row is of one task."""
    kind = part.uses[0].kind
    if kind == "sum":
        return part._replace(way="rows", price=m * products.PRICE_OF_AN_ENTRY * part.parameter.numel())
    sizes, lookup = _sizes(part.uses), kind == "lookup"
    kernel = products.price_of_kernel(*sizes, 1, lookup=lookup)
    rows = products.price_of_owned_gradients(*sizes, m, lookup=lookup)
    return part._replace(way="kernel", price=kernel) if kernel < rows else part._replace(way="rows", price=rows)


def _passes(known: Sequence[Sequence[Use]]) -> list[float]:
    """What one pass to the layers' outputs costs, layer by layer."""
    return [
        float(use.rows * use.outer * (use.inner if use.kind == "product" else 1)) for found in known for use in found
    ]


def _sizes(found: Sequence[Use]) -> tuple[int, int, int]:
    """Rows of all uses, inner and outer."""
    return sum(use.rows for use in found), found[0].inner, found[0].outer


def entries(plan: Plan, m: int) -> int:
    """Entries that the step holds beside the graph: output gradients, kernels, and rows of J that are formed."""
    parts = plan.parts if plan.cut is None else plan.owned
    held = {use.node: math.prod(shape_of(use.node)) for part in parts if part.way == "kernel" for use in part.uses}
    formed = sum(part.parameter.numel() for part in parts if part.way != "kernel")
    kernel = max((_sizes(part.uses)[0] ** 2 for part in parts if part.way == "kernel"), default=0)
    return (m if plan.cut is None else 1) * sum(held.values()) + m * formed + 2 * kernel
