"""What a method is fed: shapes and dtypes, told before anything is computed."""

from __future__ import annotations

from torch import Tensor

from mtlgrad.method import Method


def check_features(method: Method, features: Tensor | None, n: int) -> None:
    """Raise when `features` is missing though `method` needs it, or is not a tensor [b, ...] of `n` entries."""
    if not method.traits.needs_features:
        return
    if features is None:
        raise ValueError(
            f"{type(method).__name__} needs features=, the representation z [b, ...] of {n} entries; got None"
        )
    if not isinstance(features, Tensor):
        raise TypeError(f"features must be a torch.Tensor of {n} entries, got {type(features).__name__}")
    if features.ndim == 0 or features.numel() != n:
        raise ValueError(f"features must have shape [b, ...] with {n} entries in all, got {list(features.shape)}")


def check_jacobian(jacobian: Tensor) -> int:
    """m, once `jacobian` is known to be a floating [m, n] tensor with m >= 1; else a TypeError or ValueError."""
    if not isinstance(jacobian, Tensor):
        raise TypeError(f"jacobian must be a torch.Tensor of shape [m, n], got {type(jacobian).__name__}")
    if jacobian.ndim != 2 or jacobian.shape[0] == 0:
        raise ValueError(f"jacobian must have shape [m, n] with m >= 1, got {list(jacobian.shape)}")
    if not jacobian.is_floating_point():
        raise TypeError(f"jacobian must be floating point, got {jacobian.dtype}")
    return jacobian.shape[0]


def check_gram(gram: Tensor) -> int:
    """m, once `gram` is known to be a floating [m, m] tensor with m >= 1; else a TypeError or ValueError."""
    if not isinstance(gram, Tensor):
        raise TypeError(f"gram must be a torch.Tensor of shape [m, m], got {type(gram).__name__}")
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or gram.shape[0] == 0:
        raise ValueError(f"gram must have shape [m, m] with m >= 1, got {list(gram.shape)}")
    if not gram.is_floating_point():
        raise TypeError(f"gram must be floating point, got {gram.dtype}")
    return gram.shape[0]
