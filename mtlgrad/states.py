"""A method's state between steps: how it begins, where it lives, whether a loaded one fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator, JacobianAggregator
from mtlgrad.method import Method, State


def blank_states(method: Method, m: int, widths: Sequence[int]) -> list[State]:
    """States for m tasks as they are at first, one for each group of `widths` columns of J.

    For their names and shapes: those that are as long as J weigh nothing.
    """
    if isinstance(method, JacobianAggregator):
        return [method.init_like(torch.empty(m, width, device="meta")) for width in widths]
    return [method.init(m) for _ in widths]


def check_saved(saved: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The tasks of a saved Balancer, once it is known to be of the same method, layout and tasks as `own`."""
    missing = {"method", "layout", "tasks", "states", "generator", "steps"} - set(saved)
    if missing:
        raise ValueError(f"state lacks {', '.join(sorted(missing))}: not the state_dict of a Balancer")
    if saved["method"] != own["method"]:
        raise ValueError(f"state is of method {saved['method']}, this Balancer's is {own['method']}")
    if tuple(saved["layout"]) != own["layout"]:
        raise ValueError(f"state is of (apply, groups) {tuple(saved['layout'])}, this Balancer's are {own['layout']}")
    tasks: tuple[str, ...] | None = own["tasks"] if saved["tasks"] is None else tuple(saved["tasks"])
    if own["tasks"] is not None and tasks != own["tasks"]:
        raise ValueError(f"state is of tasks {tasks}, this Balancer's are {own['tasks']}")
    return tasks


def check_draws(method: Method, saved: Tensor, own: torch.Generator) -> bool:
    """Whether `saved`, a generator's state, is of a generator like `own`; an error if not and the method draws."""
    held, needed = saved.numel(), own.get_state().numel()
    if method.traits.stochastic and held != needed:
        raise ValueError(
            f"state's generator holds {held} bytes and this Balancer's, on {own.device}, {needed}: "
            f"{method.name} went on drawing on another kind of device"
        )
    return held == needed


def check_states(states: Sequence[State], blank: Sequence[State]) -> None:
    """Raise ValueError unless `states` hold what the `blank` ones do: as many, names and shapes."""
    if len(states) != len(blank):
        raise ValueError(f"state['states'] must hold {len(blank)}, got {len(states)}")
    for k, (state, wanted) in enumerate(zip(states, blank, strict=True)):
        if set(state) != set(wanted):
            raise ValueError(f"state['states'][{k}] must hold {sorted(wanted)}, got {sorted(state)}")
        for name, value in wanted.items():
            if isinstance(value, Tensor) and value.shape != state[name].shape:
                raise ValueError(
                    f"state['states'][{k}][{name!r}] must have shape {list(value.shape)}, got "
                    f"{list(state[name].shape)}: it is of other shared parameters"
                )


def state_device(method: Method, m: int, device: torch.device) -> torch.device:
    """Where the method's state lives: with what the method is fed, for m tasks with gradients on `device`."""
    if isinstance(method, GramAggregator) and not (method.traits.closed_form_pair and m == 2):
        return torch.device("cpu")
    return device


def placed(state: State, device: torch.device) -> State:
    """`state` with its tensors on `device`."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in state.items()}
