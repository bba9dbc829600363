"""What the Balancer accepts: each argument checked once, with an error that names it, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mtlgrad.aggregators.base import GradientAggregator, JacobianAggregator
from mtlgrad.method import Method, check_integer, check_positive
from mtlgrad.scalarizers.base import Scalarizer

Groups = Literal["tensor"] | Mapping[str, Iterable[Tensor]]
Scale = float | torch.amp.GradScaler


def check_choices(
    method: Method, apply: str, groups: Groups | None, memory: str, seed: int, diagnose_every: int
) -> None:
    if not isinstance(method, Scalarizer | GradientAggregator):
        hint = f"; did you mean {method.__name__}()?" if isinstance(method, type) else ""
        raise TypeError(f"method must be a Scalarizer or a GradientAggregator, got {method!r}{hint}")
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


def shared_parameters(shared: nn.Module | Iterable[nn.Module | Tensor]) -> tuple[list[nn.Module], list[Tensor]]:
    """The modules among `shared`, and the distinct parameters of them and beside them, in order."""
    modules: list[nn.Module] = []
    tensors: list[Tensor] = []
    given = [shared] if isinstance(shared, nn.Module) else shared
    if not isinstance(given, Iterable):
        raise TypeError(f"shared must be modules or parameters, got {type(shared).__name__}")
    if isinstance(given, Tensor):
        raise TypeError("shared must be modules or parameters, got one tensor: wrap it in a list")
    for one in given:
        if isinstance(one, nn.Module):
            modules.append(one)
            tensors.extend(one.parameters())
        else:
            tensors.append(one)
    found = parameters("shared", tensors, real=True)
    if not found:
        raise ValueError("shared must hold at least one parameter, got none")
    devices = sorted({str(p.device) for p in found})
    if len(devices) > 1:
        raise ValueError(f"shared parameters must be on one device, got {', '.join(devices)}")
    return modules, found


def parameters(argument: str, tensors: Iterable[Tensor], *, real: bool = False) -> list[Tensor]:
    """The distinct leaf tensors of `tensors`, in order; `real`: complex ones are refused."""
    if isinstance(tensors, Tensor):
        raise TypeError(f"{argument} must be an iterable of parameters, got one tensor: wrap it in a list")
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
    if isinstance(groups, str):
        if groups != "tensor":
            raise ValueError(f"groups must be None, 'tensor' or a mapping of names to parameters, got {groups!r}")
        return tuple(str(k) for k in range(len(shared))), [1] * len(shared), shared
    if not isinstance(groups, Mapping):
        raise TypeError(
            f"groups must be None, 'tensor' or a mapping of names to parameters, got {type(groups).__name__}"
        )
    members = {str(name): parameters(f"groups[{name!r}]", inside) for name, inside in groups.items()}
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


def features_of(features: Tensor | Sequence[Tensor]) -> list[Tensor]:
    found = [features] if isinstance(features, Tensor) else list(features)
    for k, z in enumerate(found):
        if not isinstance(z, Tensor):
            raise TypeError(f"features[{k}] must be a torch.Tensor, got {type(z).__name__}")
        if z.is_complex():
            raise TypeError(f"features[{k}] must be real, got {z.dtype}: feed the heads with torch.view_as_real of it")
        if not z.requires_grad:
            raise ValueError(f"features[{k}] does not require grad: it must come from the shared parameters")
    if not found:
        raise ValueError("features must hold at least one tensor, got none")
    return found


def representations(
    method: Method, features: Tensor | Sequence[Tensor] | None, in_window: bool, in_groups: bool
) -> list[Tensor] | None:
    """The features as a list, once they are known to be right for `method`; None: there are none."""
    traits = method.traits
    if features is None:
        if traits.needs_features:
            raise ValueError(f"{method.name} works at the shared representation z: call backward(..., features=z)")
        return None
    found = features_of(features)
    if isinstance(method, Scalarizer):
        return None  # it needs no gradients and pays no heed
    if traits.stateful and isinstance(method, JacobianAggregator):
        raise ValueError(f"{method.name} averages gradients over steps, and those at features= belong to one batch")
    if traits.needs_features and len(found) != 1:
        raise ValueError(f"{method.name} works at one representation, got {len(found)} features")
    if in_window or in_groups:
        what = "groups=" if in_groups else "accumulate()"
        raise ValueError(f"features= takes one decision on one batch's representation: not with {what}")
    return found


def check_window(method: Method, apply: str, of: int | None, before: int | Literal["none"] | None) -> None:
    """Whether this method can take a further micro-batch, in a window of `of`, after one that said `before`."""
    if of is not None:
        check_integer("of", of, low=1)
    if before != "none" and of != before:
        raise ValueError(f"of must be the same throughout a window, got {of} after {before}")
    traits = method.traits
    if of is None and traits.needs_losses and isinstance(method, Scalarizer):
        raise ValueError(
            f"{method.name} fixes its weights at the first micro-batch and must know how much of the losses "
            "that is: call accumulate(losses, of=k), k the number of micro-batches, that of backward() included"
        )
    if traits.needs_features:
        raise ValueError(f"{method.name} decides at one batch's representation: not with accumulate()")
    if apply == "loss" and not isinstance(method, Scalarizer):
        raise ValueError(
            "apply='loss' back-propagates the weighted losses once the weights are known, and by then the graphs "
            "of earlier micro-batches are gone: use apply='shared' with accumulate()"
        )


def check_end(of: int | None, count: int) -> None:
    """Whether a window that was to have `of` micro-batches may end with `count`."""
    if of not in (None, count):
        raise ValueError(f"of={of} announced that many micro-batches, and this backward() ends a window of {count}")


def check_losses(losses: Mapping[str, Tensor], tasks: tuple[str, ...] | None) -> tuple[str, ...]:
    """The task names in `losses`, once they are `tasks` (where known) and every loss is a scalar with a graph."""
    if not isinstance(losses, Mapping):
        raise TypeError(f"losses must map task names to scalar tensors, got {type(losses).__name__}")
    names = task_names("losses", losses)
    if tasks is not None and set(names) != set(tasks):
        unknown = ", ".join(repr(n) for n in names if n not in tasks)
        missing = ", ".join(repr(n) for n in tasks if n not in names)
        told = [f"unknown task {unknown}"] * bool(unknown) + [f"missing task {missing}"] * bool(missing)
        raise ValueError(f"losses: {'; '.join(told)}; this Balancer's tasks are {', '.join(map(repr, tasks))}")
    for name, loss in losses.items():
        where = f"losses[{name!r}]"
        if not isinstance(loss, Tensor):
            raise TypeError(f"{where} must be a scalar torch.Tensor, got {type(loss).__name__}")
        if loss.numel() != 1:
            raise ValueError(f"{where} must be a scalar, got shape {list(loss.shape)}: reduce it, e.g. with .mean()")
        if not loss.requires_grad:
            raise ValueError(f"{where} does not require grad: no trainable parameter leads to it (was it detached?)")
    return names


def scale_factor(scale: Scale | None, loss: Tensor) -> Tensor | None:
    """What `scale` multiplies the losses by, [] on the device of `loss`; None: nothing."""
    dtype = torch.promote_types(loss.dtype, torch.float32)
    if isinstance(scale, torch.amp.GradScaler):
        # Not `get_scale`, which waits for the device.
        return scale.scale(torch.ones((), dtype=dtype, device=loss.device)) if scale.is_enabled() else None
    if scale is None:
        return None
    check_positive("scale, where it is no torch.amp.GradScaler,", scale)
    return torch.full((), scale, dtype=dtype, device=loss.device)
