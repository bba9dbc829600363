"""How much do the tasks conflict? The record of a step without the step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from mtlgrad.arguments import check_losses, shared_parameters
from mtlgrad.diagnostics import StepRecord
from mtlgrad.engines.processes import surrounding
from mtlgrad.gradients import TaskGradients


def measure(losses: Mapping[str, Tensor], shared: nn.Module | Iterable[nn.Module | Tensor]) -> StepRecord:
    """The record of the losses' gradients over the shared parameters. No `.grad` is touched and the graph is kept.

    The record holds G = J J^T [m, m], and what follows from it: norms, cosines, conflicts. Nothing is decided, so it
    has no weights and no direction. Under `torch.distributed` gradients and losses are averaged over the ranks first.

    Parameters
    ----------
    losses:
        Task name to scalar loss.
    shared:
        As in the `Balancer`: modules, parameters, or a mix. Frozen ones do not count.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the value and what is allowed.

    Examples
    --------
    >>> w = torch.ones(2, requires_grad=True)
    >>> record = measure({"a": w[0], "b": w[1] - w[0]}, shared=[w])
    >>> round(record.cosines[0, 1].item(), 3), bool(record.conflicts_before), w.grad
    (-0.707, True, None)
    """
    names = check_losses(losses, None)
    trainable = [p for p in shared_parameters(shared)[1] if p.requires_grad]
    if not trainable:
        raise ValueError("shared holds no parameter that requires a gradient: there is nothing to measure")
    values = torch.stack([losses[name].detach().reshape(()) for name in names])
    gradients = TaskGradients(trainable, len(names))
    for task, name in enumerate(names):
        found = torch.autograd.grad(losses[name].reshape(()), trainable, retain_graph=True, allow_unused=True)
        gradients.add(task, found)
    processes = surrounding()
    processes.mean_jacobian(gradients.matrix)
    values, gram = processes.mean_values(values), gradients.gram()
    finite = gram.isfinite().all() & values.isfinite().all().to(gram.device)
    return StepRecord(names, values, finite, gram)
