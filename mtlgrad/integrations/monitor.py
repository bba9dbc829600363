"""Measuring conflicts in a training that goes on as if nobody looked."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import mtlgrad
from mtlgrad.diagnostics import StepRecord
from mtlgrad.hyperparameters import check_integer


class ConflictMonitor:
    """Measures the gradients of several losses every k-th step of any training, and changes nothing.

    What it measures needs a forward pass and a backward pass a loss of its own. The state of every random generator,
    the buffers of the model (the running statistics of a batch normalisation) and every `.grad` are afterwards what
    they were, so the training is the same to the last bit with it and without it.

    Parameters
    ----------
    losses:
        A function of the model and the batch that returns a mapping of task names to scalar losses. It computes them
        as training does, and has no side effects other than those above (it updates no metric and logs nothing).
    shared:
        The parameters over which gradients are compared, as in the `Balancer`, or a function from the model to them,
        for a model that does not exist yet.
    every:
        k, an int >= 1: the steps numbered 0, k, 2k, ... are measured.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, the value and what is allowed.

    Examples
    --------
    >>> trunk, a, b = (torch.nn.Linear(2, 2) for _ in range(3))
    >>> model = torch.nn.ModuleList([trunk, a, b])
    >>> def losses(model, x):
    ...     z = model[0](x)
    ...     return {"a": model[1](z).square().mean(), "b": (model[2](z) - 1).square().mean()}
    >>> monitor = ConflictMonitor(losses, shared=trunk.parameters(), every=10)
    >>> records = [monitor.observe(model, torch.ones(4, 2)) for _ in range(12)]
    >>> [step for step, record in enumerate(records) if record is not None], trunk.weight.grad is None
    ([0, 10], True)
    """

    def __init__(
        self,
        losses: Callable[..., Mapping[str, Tensor]],
        shared: Iterable[Tensor] | Callable[[Any], Iterable[Tensor]],
        *,
        every: int = 100,
    ) -> None:
        if not callable(losses):
            raise TypeError(
                f"losses must be a function of the model and the batch that returns a mapping of names to losses, got "
                f"{type(losses).__name__}"
            )
        check_integer("every", every, low=1)
        self.losses = losses
        self.every = every
        self.steps = 0
        """How many steps were announced so far."""
        self.latest: StepRecord | None = None
        """The last record measured."""
        self._shared = shared if callable(shared) and not isinstance(shared, nn.Module) else None
        self._parameters = None if self._shared is not None else _listed(shared)

    def observe(self, model: nn.Module, *batch: Any) -> StepRecord | None:
        """Announce one step: the record of its gradients where it is due, else None."""
        due = self.steps % self.every == 0
        self.steps += 1
        if not due:
            return None
        if self._parameters is None:
            assert self._shared is not None
            self._parameters = _listed(self._shared(model))
        with undisturbed(model), torch.enable_grad():
            self.latest = mtlgrad.measure(self.losses(model, *batch), self._parameters)
        return self.latest

    def state_dict(self) -> dict[str, Any]:
        """The number of steps, so that a resumed training measures the steps that an uninterrupted one measures."""
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting from `state_dict`."""
        self.steps = int(state["steps"])


def _listed(shared: Any) -> list[Tensor]:
    return list(shared.parameters() if isinstance(shared, nn.Module) else shared)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """A block after which random generators (torch's, NumPy's and Python's global ones) and buffers are as before."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = sorted({t.device.index for t in [*model.parameters(), *model.buffers()] if t.device.type == "cuda"})
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one is what others draw from
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def summary(record: StepRecord, prefix: str = "") -> dict[str, Tensor]:
    """What a log keeps of a record: scalars [] by name, on the device where they are; what was not measured is absent.

    `loss/TASK`, `weight/TASK`, `norm/TASK` for each task that was present, `min_cosine` over the pairs of these, and as
    0 or 1 `conflicts_before` and `conflicts_after`.

    >>> w = torch.ones(2, requires_grad=True)
    >>> found = summary(mtlgrad.Balancer(mtlgrad.GH(), shared=[w]).backward({"a": w[0], "b": w[1] - w[0]}))
    >>> sorted(found)[:4], round(found["min_cosine"].item(), 3)
    (['conflicts_after', 'conflicts_before', 'loss/a', 'loss/b'], -0.707)
    """
    here = [k for k, task in enumerate(record.tasks) if task in record.present]
    named: dict[str, Tensor] = {}
    weights = None if record.weights is None or record.weights.ndim != 1 else record.weights
    for name, values in (("loss", record.losses), ("weight", weights), ("norm", record.norms)):
        if values is not None:
            named |= {f"{name}/{record.tasks[k]}": values[k] for k in here}
    if record.cosines is not None and len(here) > 1:
        pairs = torch.combinations(torch.tensor(here)).T
        named["min_cosine"] = record.cosines[pairs[0], pairs[1]].min()
    for name in ("conflicts_before", "conflicts_after"):
        value = getattr(record, name)
        if value is not None:
            named[name] = value.float()
    return {f"{prefix}{name}": value.detach() for name, value in named.items()}


def present_losses(losses: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """Those that are there: None stands for a task that the batch lacks."""
    return {name: loss for name, loss in losses.items() if loss is not None}


def divided(losses: Mapping[str, Tensor | None], k: int) -> dict[str, Tensor | None]:
    """Each loss as its part of k batches' mean."""
    return {name: None if loss is None else loss / k for name, loss in losses.items()}
