"""What the Balancer accepts: each argument checked once, with an error that names it, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from torch import Tensor, nn

from mtlgrad.aggregators.base import JacobianAggregator
from mtlgrad.hyperparameters import check_integer
from mtlgrad.method import Method
from mtlgrad.scalarizers.base import Scalarizer

Given = nn.Module | Iterable[nn.Module | Tensor]
"""Parameters as they are given: a module, or modules and parameters."""

Groups = Literal["tensor"] | Mapping[str, Given]


def check_choices(
    method: Method, apply: str, groups: Groups | None, memory: str, seed: int, diagnose_every: int
) -> None:
    if apply not in ("shared", "loss"):
        raise ValueError(f"apply must be 'shared' or 'loss', got {apply!r}")
    if apply == "loss" and isinstance(method, JacobianAggregator):
        raise ValueError(f"apply='loss' needs a method with weights and {method.name} has none: use apply='shared'")
    if apply == "loss" and groups is not None:
        raise ValueError("apply='loss' multiplies each whole loss by one weight and cannot go with groups=")
    if groups is not None and method.traits.needs_features:
        raise ValueError(f"groups= cuts up the parameters, and {method.name} works at the shared representation")
    if groups is not None and isinstance(method, Scalarizer):
        raise ValueError(f"groups= needs a method that reads gradients, and {method.name} reads losses only")
    if memory not in ("fast", "lean"):
        raise ValueError(f"memory must be 'fast' or 'lean', got {memory!r}")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an int, got {seed!r}")
    check_integer("diagnose_every (0: never)", diagnose_every, low=0)


def shared_parameters(shared: Given) -> tuple[list[nn.Module], list[Tensor]]:
    """The modules among `shared`, and the distinct parameters of them and beside them, in order."""
    modules, found = opened("shared", shared, real=True)
    if not found:
        raise ValueError("shared must hold at least one parameter, got none")
    devices = sorted({str(p.device) for p in found})
    if len(devices) > 1:
        raise ValueError(f"shared parameters must be on one device, got {', '.join(devices)}")
    return modules, found


def private_parameters(private: Given | None, shared: Sequence[Tensor]) -> list[Tensor] | None:
    """The distinct private parameters, once none of them is known to be shared; None: whatever the losses reach."""
    if private is None:
        return None
    _, found = opened("private", private)
    ids = {id(p): k for k, p in enumerate(shared)}
    for k, p in enumerate(found):
        if id(p) in ids:
            raise ValueError(
                f"private[{k}] is shared[{ids[id(p)]}] too: a parameter either gets the direction or its own tasks' "
                "gradients"
            )
    return found


def opened(argument: str, given: Given, *, real: bool = False) -> tuple[list[nn.Module], list[Tensor]]:
    """The modules in what was given as `argument`, and the distinct parameters of them and beside them, in order."""
    wanted = f"{argument} must be modules, parameters, or a list of both"
    if isinstance(given, Tensor):
        raise TypeError(f"{wanted}, got one tensor: wrap it in a list")
    if isinstance(given, str | Mapping):
        hint = ": pass its values" if isinstance(given, Mapping) else ""
        raise TypeError(f"{wanted}, got {type(given).__name__}{hint}")
    if not isinstance(given, nn.Module | Iterable):
        hint = ": call it" if callable(given) else ""
        raise TypeError(f"{wanted}, got {type(given).__name__}{hint}")
    modules: list[nn.Module] = []
    tensors: list[Tensor] = []
    for one in [given] if isinstance(given, nn.Module) else given:
        if isinstance(one, nn.Module):
            modules.append(one)
            tensors.extend(one.parameters())
        else:
            tensors.append(one)
    return modules, parameters(argument, tensors, real=real)


def parameters(argument: str, tensors: Iterable[Tensor], *, real: bool = False) -> list[Tensor]:
    """The distinct leaf tensors of `tensors`, in order; `real`: complex ones are refused."""
    found: dict[int, Tensor] = {}
    for k, p in enumerate(tensors):
        if not isinstance(p, Tensor):
            hint = "; pass the parameters without their names" if isinstance(p, tuple) else ""
            raise TypeError(f"{argument}[{k}] must be a torch.Tensor, got {type(p).__name__}{hint}")
        if not p.is_leaf:
            raise ValueError(f"{argument}[{k}] is not a leaf tensor: gradients are kept for parameters only")
        if real and p.is_complex():
            raise TypeError(
                f"{argument}[{k}] must be real, got {p.dtype}: keep it as real numbers [..., 2] and compute with "
                "torch.view_as_complex of them"
            )
        found.setdefault(id(p), p)
    return list(found.values())


def grouped(groups: Groups | None, shared: list[Tensor]) -> tuple[tuple[str, ...], list[int] | None, list[Tensor]]:
    """Group names, parameters in each, and the shared parameters in group order."""
    if groups is None:
        return (), None, shared
    wanted = "groups must be None, 'tensor' or a mapping of names to modules or parameters"
    if isinstance(groups, str):
        if groups != "tensor":
            raise ValueError(f"{wanted}, got {groups!r}")
        return tuple(str(k) for k in range(len(shared))), [1] * len(shared), shared
    if not isinstance(groups, Mapping):
        raise TypeError(f"{wanted}, got {type(groups).__name__}")
    members = {str(name): opened(f"groups[{name!r}]", inside)[1] for name, inside in groups.items()}
    ordered = [p for inside in members.values() for p in inside]
    if len({id(p) for p in ordered}) != len(ordered):
        raise ValueError("groups overlap: each shared parameter belongs to exactly one group")
    if {id(p) for p in ordered} != {id(p) for p in shared}:
        raise ValueError(
            f"groups must hold exactly the {len(shared)} shared parameters, got {len(ordered)} that differ"
        )
    if not all(members.values()):
        raise ValueError(f"groups must not be empty, got none in {[n for n, inside in members.items() if not inside]}")
    return tuple(members), [len(inside) for inside in members.values()], ordered


def task_names(argument: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"{argument} must be a sequence of task names, got the string {names!r}")
    found = tuple(names)
    if not found:
        raise ValueError(f"{argument} must name at least one task, got none")
    for name in found:
        if not isinstance(name, str):
            raise TypeError(f"{argument}: task names must be strings, got {name!r}")
    if len(set(found)) != len(found):
        raise ValueError(f"{argument} must be distinct, got {found}")
    return found
