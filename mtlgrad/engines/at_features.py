"""The decision at the shared representation: m passes through the heads, one through the trunk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GradientAggregator
from mtlgrad.engines.asking import ask, foreseen
from mtlgrad.engines.base import Call, Cost, Engine, Outcome
from mtlgrad.engines.parts import ask_about_parts
from mtlgrad.engines.passes import scaled, task_gradients, weighted_pass
from mtlgrad.engines.reach import reach


class AtFeatures(Engine):
    """MGDA-UB's way (Sener & Koltun 2018, Sec. 3.3) for any method that reads gradients."""

    name = "at the features"
    processes = ("one", "replicated", "sharded")

    def refuses(self, call: Call) -> str | None:
        if call.features is None:
            return "no features= were given"
        if not isinstance(call.method, GradientAggregator):
            return f"{call.method.name} reads losses only"
        return None

    def cost(self, call: Call) -> Cost:
        assert call.features is not None
        entries = sum(z.numel() * z.element_size() for z in call.features)
        return Cost(2, len(call.losses) * entries)  # heads are small beside the trunk: m of theirs count as one

    def run(self, call: Call) -> Outcome:
        assert call.features is not None
        settled = foreseen(call) is not None
        if not settled:
            call.method.check_values(call.values)
        _check(call, call.features)
        gradients = task_gradients(call, call.features)
        if call.processes.kind == "one":
            decision, states = ask(call, [gradients.matrix], call.features[0])
        else:
            decision, states = ask_about_parts(call, gradients, call.features)
        if call.apply == "loss":
            assert decision.weights is not None
            weighted_pass(call, decision.weights)
            return Outcome(decision, states, settled)
        assert decision.direction is not None
        # The heads take their own tasks' gradients from the plain sum; at z the direction replaces what arrives.
        handles = [
            z.register_hook(lambda _, piece=piece: piece)
            for z, piece in zip(call.features, gradients.split(scaled(decision.direction, call)), strict=True)
        ]
        try:
            total = torch.stack(list(call.losses)).sum()
            call.processes.backward(total, retain_graph=call.retain_graph, inputs=call.inputs())
        finally:
            for handle in handles:
                handle.remove()
        call.processes.mean_gradients(call.trainable, call.private)
        return Outcome(decision, states, settled)


def _check(call: Call, features: Sequence[Tensor]) -> None:
    """Raise ValueError unless every loss depends on the shared parameters through `features` and nothing else."""
    heads = reach(call.losses, stops=features)
    for k in range(len(features)):
        if k not in heads.stops:
            raise ValueError(
                f"features[{k}]: no loss depends on it; pass the very tensor that the heads are fed with, not a copy "
                "or a view made beside it"
            )
    if heads.reentrant:
        raise ValueError(
            "features=: a loss goes through a reentrant checkpoint after the features, which PyTorch does not run when "
            "it is asked for the gradients at a tensor: pass use_reentrant=False to torch.utils.checkpoint"
        )
    around = [k for k, p in enumerate(call.shared) if id(p) in heads.leaves and not any(p is z for z in features)]
    if around:
        names = [
            name
            for name, loss in zip(call.names, call.losses, strict=True)
            if id(call.shared[around[0]]) in reach([loss], stops=features).leaves
        ]
        raise ValueError(
            f"features=: the loss of {', '.join(map(repr, names))} reaches shared[{around[0]}] without going through "
            "the features, so that the decision there is not about all of its gradient: give every representation "
            "through which losses depend on the shared parameters, or leave features= away"
        )
    trainable = {id(p) for p in call.trainable}
    for k, z in enumerate(features):
        if id(z) in trainable:
            continue
        trunk = reach([z], stops=[other for other in features if other is not z])
        if trunk.stops:
            raise ValueError(
                f"features[{k}] is computed from another of the features: give the last representations only, through "
                "which every loss goes exactly once"
            )
        if not trunk.opaque and not trainable & set(trunk.leaves):
            why = "it is a leaf, as after detach()" if z.is_leaf else "it is of another network, or of a copy"
            raise ValueError(
                f"features[{k}] does not depend on any shared parameter ({why}): none of them would get a gradient"
            )
