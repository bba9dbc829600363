"""What options and hyperparameters may hold: what a suite's file and a result's file can both be made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import AfterValidator

ALLOWED = "None, bool, int, finite float, str, and lists or tables (with str keys) of these"


def plain_options(options: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """The options as a result's file gives them back: tuples are lists, NumPy's numbers Python's.

    Parameters
    ----------
    options:
        By name.
    name:
        What an error calls them; empty: it names the option alone.

    Raises
    ------
    ValueError
        A value that JSON cannot hold: the run could not be told from others by its file.

    >>> plain_options({"lr": np.float32(0.5), "sizes": (8, np.int64(4))})
    {'lr': 0.5, 'sizes': [8, 4]}
    >>> plain_options({"clip": float("inf")}, "options")
    Traceback (most recent call last):
    ValueError: options['clip']=inf is not finite; allowed: a finite number, or None for "no limit"
    """
    if not isinstance(options, Mapping):
        raise ValueError(f"{name or 'options'} must be a mapping of names to values, got {options!r}")
    return {_key(name, key): _plain(f"{name}[{key!r}]" if name else str(key), one) for key, one in options.items()}


def _plain(at: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # a member of an enumeration of strings is what it stands for
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f'{at}={value} is not finite; allowed: a finite number, or None for "no limit"')
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(f"{at}[{k}]", one) for k, one in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(at, key): _plain(f"{at}[{key!r}]", one) for key, one in value.items()}
    hint = ""
    if isinstance(value, PurePath):
        hint = "; for a path pass str(path)"
    elif isinstance(value, torch.Tensor | np.ndarray):
        hint = "; for an array or tensor pass its .tolist()"
    shown = " ".join(repr(value).split())
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    raise ValueError(f"{at}={shown} is a {type(value).__name__}; allowed: {ALLOWED}{hint}")


def _key(at: str, key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError(f"{at or 'options'} has the key {key!r}, a {type(key).__name__}; allowed: str")
    return str.__str__(key)


Options = Annotated[dict[str, Any], AfterValidator(plain_options)]
"""Of a problem or a method."""
