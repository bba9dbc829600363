"""How much do the tasks conflict? The record of a step without the step."""

from __future__ import annotations

import torch

from mtlgrad.arguments import Given, shared_parameters
from mtlgrad.diagnostics import StepRecord
from mtlgrad.engines.processes import surrounding
from mtlgrad.engines.reach import reach
from mtlgrad.gradients import TaskGradients
from mtlgrad.losses import Losses, check_losses, named


def measure(losses: Losses, shared: Given) -> StepRecord:
    """The record of the losses' gradients over the shared parameters. No `.grad` is touched and the graph is kept.

    The record holds G = J J^T [m, m], and what follows from it: norms, cosines, conflicts. Nothing is decided, so it
    has no weights and no direction. Under `torch.distributed` gradients and losses are averaged over the ranks first.

    Parameters
    ----------
    losses:
        Task names to scalar losses, or a list or a tensor [m] of them, as in `Balancer.backward`.
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
    given = named(losses, None)
    check_losses(given, None)
    present = {name: loss.reshape(()) for name, loss in given.items() if loss is not None}
    trainable = [p for p in shared_parameters(shared)[1] if p.requires_grad]
    if not trainable:
        raise ValueError("shared holds no parameter that requires a gradient: there is nothing to measure")
    processes = surrounding(trainable)
    if processes.kind == "sharded":
        raise ValueError(
            "shared parameters are sharded: they have gradients after a backward pass into .grad only, which measure "
            "does not touch; read the record of Balancer.backward instead"
        )
    if reach(list(present.values())).reentrant:
        raise ValueError(
            "the losses go through a reentrant checkpoint, which PyTorch does not run when it is asked for gradients "
            "without .grad: pass use_reentrant=False to torch.utils.checkpoint"
        )
    values = torch.stack([loss.detach() for loss in present.values()])
    gradients = TaskGradients(trainable, len(present))
    for task, loss in enumerate(present.values()):
        gradients.add(task, torch.autograd.grad(loss, trainable, retain_graph=True, allow_unused=True))
    if len(gradients.untouched) == len(trainable):
        raise ValueError("no loss reaches any of the trainable shared parameters: there is nothing to measure")
    with processes.together(["measure", *present]):
        pass
    means, _ = processes.tell(dict(enumerate(values)), len(present))
    values = torch.stack(list(means.values()))
    processes.mean_jacobian(gradients)
    gram = gradients.gram()
    finite = gram.isfinite().all() & values.isfinite().all().to(gram.device)
    return StepRecord(tuple(present), values, finite, gram)
