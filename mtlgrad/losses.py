"""What one call is given: losses, features, the scale, micro-batches; each checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from mtlgrad.aggregators.base import JacobianAggregator
from mtlgrad.arguments import task_names
from mtlgrad.hyperparameters import check_integer, check_positive
from mtlgrad.method import Method
from mtlgrad.scalarizers.base import Scalarizer

Losses = Mapping[str, Tensor | None] | Sequence[Tensor | None] | Tensor
"""Task names to losses; or a list, or a tensor [m] of them, whose names are then "0", "1", ...; None: absent."""
Scale = float | torch.amp.GradScaler


def named(losses: Losses, tasks: Sequence[str] | None) -> dict[str, Tensor | None]:
    """The losses by name: in the order of `tasks`, where these are known and the losses come without names."""
    if isinstance(losses, Mapping):
        return dict(losses)
    if isinstance(losses, Tensor):
        if losses.ndim != 1:
            raise ValueError(
                f"losses, where it is one tensor, must have shape [m], one entry a task, got {list(losses.shape)}; "
                "losses that are still apart go into a mapping or a list"
            )
        losses = losses.unbind()
    if not isinstance(losses, Sequence) or isinstance(losses, str):
        raise TypeError(
            "losses must map task names to scalar tensors, or be a list or a tensor [m] of them, got "
            f"{type(losses).__name__}"
        )
    if tasks is None:
        return {str(k): loss for k, loss in enumerate(losses)}
    if len(losses) != len(tasks):
        raise ValueError(
            f"losses must hold one entry for each of {', '.join(map(repr, tasks))}, got {len(losses)}: None "
            "stands for a task that is absent"
        )
    return dict(zip(tasks, losses, strict=True))


def check_losses(losses: Mapping[str, Tensor | None], tasks: tuple[str, ...] | None) -> tuple[str, ...]:
    """All task names, once those in `losses` are among `tasks` (where known) and each loss is a scalar with a graph."""
    names = task_names("losses", losses)
    unknown = [name for name in names if tasks is not None and name not in tasks]
    if tasks is not None and unknown:
        raise ValueError(
            f"losses: unknown task {', '.join(map(repr, unknown))}; "
            f"this Balancer's tasks are {', '.join(map(repr, tasks))}"
        )
    seen: dict[int, str] = {}
    for name, loss in losses.items():
        where = f"losses[{name!r}]"
        if loss is None:
            continue
        if not isinstance(loss, Tensor):
            raise TypeError(
                f"{where} must be a scalar torch.Tensor, or None where the task is absent, got {type(loss).__name__}"
            )
        if loss.numel() != 1:
            raise ValueError(f"{where} must be a scalar, got shape {list(loss.shape)}: reduce it, e.g. with .mean()")
        if not loss.requires_grad:
            raise ValueError(f"{where} does not require grad: no trainable parameter leads to it (was it detached?)")
        if id(loss) in seen:
            raise ValueError(f"{where} and losses[{seen[id(loss)]!r}] are one tensor: each task has a loss of its own")
        seen[id(loss)] = name
    if not seen:
        raise ValueError("losses: every task is absent, and nothing is left to decide: skip this batch")
    return tasks or names


def features_of(features: Tensor | Sequence[Tensor]) -> list[Tensor]:
    found = [features] if isinstance(features, Tensor) else list(features)
    for k, z in enumerate(found):
        if not isinstance(z, Tensor):
            raise TypeError(f"features[{k}] must be a torch.Tensor, got {type(z).__name__}")
        if z.is_complex():
            raise TypeError(f"features[{k}] must be real, got {z.dtype}: feed the heads with torch.view_as_real of it")
        if not z.requires_grad:
            raise ValueError(f"features[{k}] does not require grad: it must come from the shared parameters")
    if len({id(z) for z in found}) != len(found):
        raise ValueError("features holds a tensor twice: give each representation once")
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


def check_scale(scale: Scale | None, before: Scale | None) -> None:
    """Whether a micro-batch has the scale of those `before` it in the window."""
    if scale != before:
        raise ValueError(f"scale must be the same for all micro-batches of a window, got {scale!r} after {before!r}")


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
