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


Columns = list[dict[int, int]]
"""For each group, in the order of J's columns: which shared parameters have columns, and how many each.

Those of one parameter are its entries in row-major order, however it lies in memory.
"""


def refitted(method: Method, states: Sequence[State], m: int, old: Columns, new: Columns) -> list[State]:
    """States of a method that keeps columns of J, where parameters were frozen, unfrozen or resized since.

    What belongs to columns that are still there stays; columns that are new begin as they would at a first step.
    """
    if old == new or not isinstance(method, JacobianAggregator):
        return list(states)
    found = []
    for state, before, after in zip(states, old, new, strict=True):
        n = sum(after.values())
        axes = _axes(method.init_like(_meta(m, n)), method.init_like(_meta(m, n + 1)))
        like = next((value for name, value in state.items() if axes[name]), torch.empty(0))
        blank = placed(method.init_like(torch.zeros(m, n, dtype=like.dtype, device=like.device)), like.device)
        for name, value in state.items():
            if not axes[name]:
                blank[name] = value
                continue
            (axis,) = axes[name]
            for k in before.keys() & after.keys():
                if before[k] == after[k]:
                    source = value.narrow(axis, _start(before, k), before[k])
                    blank[name].narrow(axis, _start(after, k), after[k]).copy_(source)
        found.append(blank)
    return found


def from_memory_order(
    method: Method, states: Sequence[State], m: int, columns: Columns, places: Sequence[Tensor]
) -> list[State]:
    """States for m tasks whose columns lie as each shared parameter does in memory, with row-major ones instead.

    `places`: for each shared parameter where in its memory its entries are, see `gradients.places_in_memory`.
    """
    if not isinstance(method, JacobianAggregator):
        return list(states)
    found = []
    for state, group in zip(states, columns, strict=True):
        n = sum(group.values())
        axes = _axes(method.init_like(_meta(m, n)), method.init_like(_meta(m, n + 1)))
        sorted_ = {name: value.clone() if axes[name] else value for name, value in state.items()}
        for k, width in group.items():
            for name, value in state.items():
                if len(places[k]) == width and axes[name]:
                    (axis,) = axes[name]
                    old, new = (one.narrow(axis, _start(group, k), width) for one in (value, sorted_[name]))
                    new.copy_(old.index_select(axis, places[k].to(old.device)))
        found.append(sorted_)
    return found


def first_states(method: Method, m: int, widths: Sequence[int], likes: Sequence[State]) -> list[State]:
    """States of m tasks before the first step, placed as `likes`, states of fewer tasks, are."""
    found = []
    for width, like in zip(widths, likes, strict=True):
        if isinstance(method, JacobianAggregator):
            tensor = next((one for one in like.values() if one.is_floating_point()), torch.empty(0))
            found.append(method.init_like(torch.zeros(m, width, dtype=tensor.dtype, device=tensor.device)))
        else:
            found.append(method.init(m))
    return found


def picked(method: Method, states: Sequence[State], m: int, present: Sequence[int]) -> list[State]:
    """What `states` of m tasks hold about the `present` ones: the states of a method for these alone."""
    axes = task_axes(method, m)
    return [{name: _pick(value, axes[name], present) for name, value in state.items()} for state in states]


def put_back(
    method: Method, states: Sequence[State], m: int, present: Sequence[int], new: Sequence[State]
) -> list[State]:
    """`states` of m tasks with what `new` holds about the `present` ones; the others' part stays as it was."""
    axes = task_axes(method, m)
    found = []
    for old, changed in zip(states, new, strict=True):
        whole = {}
        for name, value in changed.items():
            if not axes[name]:
                whole[name] = value
                continue
            target = old[name].to(value.device, value.dtype, copy=True)
            rows = torch.tensor(list(present), device=value.device)
            index: list[Any] = [slice(None)] * value.ndim
            for place, axis in enumerate(axes[name]):
                shape = [1] * len(axes[name])
                shape[place] = -1
                index[axis] = rows.view(shape)
            target[tuple(index)] = value
            whole[name] = target
        found.append(whole)
    return found


def task_axes(method: Method, m: int) -> dict[str, list[int]]:
    """Along which axes each tensor of the method's state has one entry a task."""
    if isinstance(method, JacobianAggregator):
        return _axes(method.init_like(_meta(m, 1)), method.init_like(_meta(m + 1, 1)))
    return _axes(method.init(m), method.init(m + 1))


def _pick(value: Any, axes: list[int], present: Sequence[int]) -> Any:
    for axis in axes:
        value = value.index_select(axis, torch.tensor(list(present), device=value.device))
    return value


def _axes(small: State, large: State) -> dict[str, list[int]]:
    return {
        name: [axis for axis, (a, b) in enumerate(zip(value.shape, large[name].shape, strict=True)) if a != b]
        for name, value in small.items()
    }


def _start(columns: Mapping[int, int], wanted: int) -> int:
    return sum(width for k, width in columns.items() if list(columns).index(k) < list(columns).index(wanted))


def _meta(m: int, n: int) -> Tensor:
    return torch.empty(m, n, device="meta")


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
    """Raise ValueError unless `states` hold what the `blank` ones do: as many, names and shapes.

    Of the same method, other names or another number of axes are those of another version: before there were counters
    for each task, a method's state had one for all.
    """
    other = "it was saved by another version of mtlgrad, whose state of this method was another: start the method anew"
    if len(states) != len(blank):
        raise ValueError(f"state['states'] must hold {len(blank)}, got {len(states)}")
    for k, (state, wanted) in enumerate(zip(states, blank, strict=True)):
        if set(state) != set(wanted):
            raise ValueError(f"state['states'][{k}] must hold {sorted(wanted)}, got {sorted(state)}: {other}")
        for name, value in wanted.items():
            if isinstance(value, Tensor) and value.shape != state[name].shape:
                why = "it is of other shared parameters" if value.ndim == state[name].ndim else other
                raise ValueError(
                    f"state['states'][{k}][{name!r}] must have shape {list(value.shape)}, got "
                    f"{list(state[name].shape)}: {why}"
                )


def state_device(method: Method, m: int, device: torch.device) -> torch.device:
    """Where the method's state lives: with what the method is fed, for m tasks with gradients on `device`."""
    if isinstance(method, GramAggregator) and not (method.traits.closed_form_pair and m == 2):
        return torch.device("cpu")
    return device


def placed(state: State, device: torch.device) -> State:
    """`state` with its tensors on `device`."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in state.items()}
