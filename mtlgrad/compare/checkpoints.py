"""The file from which an interrupted run goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


class CheckpointError(ValueError):
    """A checkpoint that training cannot go on from."""


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """The state that `path` holds, to be loaded inside; CheckpointError when that fails in whatever way."""
    try:
        yield torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # torn files and states of other networks fail in any way
        raise CheckpointError(f"checkpoint {path.name} cannot be read ({type(error).__name__}): remove it") from error


def save_atomically(state: Any, path: Path) -> None:
    """`torch.save` such that `path` holds the old state or the new one, whole, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        torch.save(state, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
