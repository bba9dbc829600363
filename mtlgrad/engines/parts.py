"""The decision at representations of which each rank has its part of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.decision import Decision
from mtlgrad.engines.asking import ask, ask_from_grams
from mtlgrad.engines.base import Call
from mtlgrad.engines.several import Several
from mtlgrad.gradients import TaskGradients
from mtlgrad.linalg import combine
from mtlgrad.method import State


def ask_about_parts(call: Call, gradients: TaskGradients, features: Sequence[Tensor]) -> tuple[Decision, list[State]]:
    """The decision about the whole batch; its direction is this rank's part, times the number of ranks.

    The loss of the whole batch is the mean over the ranks, and so a rank's columns of J are its own gradients divided
    by the number of ranks: their Gramians sum to G. A method that reads J itself gets it whole, with the parts of the
    batch in the order of the ranks. The factor in the direction goes again where the parameters' gradients, which
    follow from the parts, are averaged.
    """
    processes = call.processes
    assert isinstance(processes, Several)
    if isinstance(call.method, GramAggregator):
        partial = gradients.gram() / processes.size**2
        decision, states = ask_from_grams(call, [processes.summed(partial).to(partial.device)])
        assert decision.weights is not None
        return replace(decision, direction=combine(decision.weights, gradients.matrix)), states
    rows, parts = gradients.matrix / processes.size, []
    for z, columns in zip(features, rows.split([z.numel() for z in features], dim=1), strict=True):
        batch_first = columns.unflatten(1, (len(z), -1)).transpose(0, 1).contiguous()
        parts.append(processes.joined(batch_first).transpose(0, 1).flatten(1))
    decision, states = ask(call, [torch.cat(parts, dim=1)], processes.joined(features[0].detach().contiguous()))
    assert decision.direction is not None
    own, sizes = [], processes.gathered([len(z) for z in features])
    first = 0  # columns of the features before
    rank = torch.distributed.get_rank()
    for k, z in enumerate(features):
        width = z.numel() // max(len(z), 1)
        before, whole = sum(one[k] for one in sizes[:rank]), sum(one[k] for one in sizes)
        own.append(decision.direction[first + before * width : first + (before + len(z)) * width])
        first += whole * width
    return replace(decision, direction=torch.cat(own) * processes.size), states
