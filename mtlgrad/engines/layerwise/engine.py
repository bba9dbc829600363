"""Layer-wise Gramians: the decision from layer inputs and output gradients, without J."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.engines.asking import ask_from_grams, foreseen
from mtlgrad.engines.base import Call, Cost, Engine, Outcome
from mtlgrad.engines.graph import glance
from mtlgrad.engines.layerwise.gather import Gathered, one_pass, several_passes
from mtlgrad.engines.layerwise.plan import Plan, entries, plan
from mtlgrad.engines.passes import accumulate, add_to_grad, private_leaves, weighted_pass
from mtlgrad.engines.processes import Processes
from mtlgrad.gradients import laid_out, like_gradient

_NOTHING_SAVED = "it would save no work for layers and batches of these sizes"
_REMEMBERED = 16


class Layerwise(Engine):
    """For methods that need the weights only, where the layers' shapes make J the dearer way.

    For a linear layer with inputs A [r, in] and task i's output gradients D_i [r, out], the gradients' inner product is
    <g_i, g_j> = sum of (A Aᵀ) * (D_i D_jᵀ). The m passes therefore stop at the layers' outputs, and the direction of
    each weight is one product, (sum of w_i D_i)ᵀ A. What A is, and where D arrives, is read off the autograd graph:
    each use of each shared parameter is in it, however modules are nested, tied or called twice. A parameter with a use
    of no known kind, or one whose gradients are cheaper formed, has them formed. Losses that turn out to be
    of disjoint samples, above layers that the graph proves to keep samples apart, share one pass.

    G is computed in float64 from what the passes gave: it differs from the Gramian of gradients formed in float32 by
    the rounding of those.
    """

    name = "layer by layer"

    def __init__(self) -> None:
        self._planned: tuple[weakref.ref[Call], Plan | str] | None = None
        # Numbers of losses that met in a sample, or above layers that mix samples: one pass is not tried again.
        self._met: set[int] = set()
        # Reasons why graphs that look so had no plan: for small models the whole look is a few hundredths of the step.
        self._without: dict[object, str] = {}

    def refuses(self, call: Call) -> str | None:
        if not isinstance(call.method, GramAggregator):
            return f"{call.method.name} needs more than the Gramian"
        if call.features is not None:
            return "features= asks for the decision at the representation"
        if call.window is not None or not call.ends:
            return "a window of micro-batches would keep the layers' inputs of all of them"
        if type(call.processes) is not Processes:
            return "gradients averaged over processes have cross terms between their samples"
        reason = _unfit(call.trainable)
        if reason is not None:
            return reason
        planned = self._plan(call)
        return planned if isinstance(planned, str) else None

    def cost(self, call: Call) -> Cost:
        planned, m = self._plan(call), len(call.losses)
        assert isinstance(planned, Plan)
        width = max((p.element_size() for p in call.trainable), default=0)
        passes = m * planned.price / planned.plain + (call.apply == "loss")
        return Cost(passes, width * entries(planned, m))

    def run(self, call: Call) -> Outcome:
        planned = self._plan(call)
        assert isinstance(planned, Plan)
        settled = foreseen(call) is not None
        if not settled:
            call.method.check_values(call.values)
        gathered = self._gather(call, planned)
        grams = [gathered.gram(*both) for both in call.bounds]
        if call.scale is not None:
            grams = [gram / call.scale.to(gram).square() for gram in grams]
        decision, states = ask_from_grams(call, grams)
        assert decision.weights is not None
        if call.apply == "loss":
            weighted_pass(call, decision.weights)
        else:
            weights = [decision.weights] if call.groups is None else decision.weights.unbind()
            for own, gram, both in zip(weights, grams, call.bounds, strict=True):
                add_to_grad(*_laid_out(call, dict(gathered.combine(own, gram, *both))))
        return Outcome(decision, states, settled)

    @torch.no_grad()
    def _gather(self, call: Call, planned: Plan) -> Gathered:
        """The passes; with apply="shared" the private parameters get their gradients on the way."""
        whole = call.apply == "loss"
        leaves = [] if whole else private_leaves(call, planned.graph)
        keep = call.retain_graph or whole
        if planned.cut is None:
            return several_passes(planned, call.losses, leaves=leaves, accept=accumulate, keep=keep)
        gathered, disjoint = one_pass(planned, call.losses, leaves=leaves, accept=accumulate, keep=keep)
        if not disjoint:
            self._met.add(len(call.losses))
        return gathered

    def _plan(self, call: Call) -> Plan | str:
        """The plan for this very call; it holds the graph, and goes with the call."""
        if self._planned is None or self._planned[0]() is not call:
            # Sizes of the batch are among what is seen; what it overlooks makes a step slower, and never wrong.
            seen = (*map(id, call.trainable), glance(call.losses, 12 + 4 * len(call.losses)))
            found: Plan | str | None = self._without.get(seen)
            if found is None:
                found = self._new_plan(call)
                if isinstance(found, str):
                    if len(self._without) == _REMEMBERED:
                        self._without.clear()
                    self._without[seen] = found
            self._planned = weakref.ref(call, self._forget), found
        return self._planned[1]

    def _new_plan(self, call: Call) -> Plan | str:
        m = len(call.losses)
        # To see whose samples are whose the host looks at values, which a pair on an accelerator need not wait for.
        looks = m > 1 and m not in self._met and (m > 2 or call.values.is_cpu)
        found = plan(call.losses, call.trainable, together=looks)
        if looks and (isinstance(found, str) or found.cut is None):
            self._met.add(m)
        # A plan holds the graph, which the passes of another engine are to free as they go.
        return found if isinstance(found, str) or found.pays else _NOTHING_SAVED

    def _forget(self, _: object) -> None:
        self._planned = None


def _unfit(parameters: Iterable[Tensor]) -> str | None:
    """Why these parameters' gradients have to be formed, whatever their layers are; None: there is no reason."""
    for p in parameters:
        if type(p) not in (Tensor, nn.Parameter) or p.layout != torch.strided:
            return f"a shared parameter is a {type(p).__name__} of layout {p.layout}"
        if p.dtype not in (torch.float32, torch.float64) or p.device.type not in ("cpu", "cuda"):
            return f"shared parameters are {p.dtype} on {p.device.type}, and sums of rows would lose digits"
        if p._backward_hooks:
            return "a hook on a shared parameter waits for its gradients"
    return None


def _laid_out(call: Call, pieces: dict[int, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The parameters that get a piece, and the pieces with the strides that plain autograd would give them."""
    parameters = [call.trainable[k] for k in pieces]
    laid = [
        piece if piece.stride() == p.stride() else laid_out(piece, like_gradient(p))
        for p, piece in zip(parameters, pieces.values(), strict=True)
    ]
    return parameters, laid
