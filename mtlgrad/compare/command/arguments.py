"""Argument types shared by the commands."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path


def at_least(low: int) -> Callable[[str], int]:
    """The type of an int >= `low`; anything else is an error that says so.

    >>> at_least(2)("3")
    3
    """

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f"must be an int >= {low}, got {text!r}")
        return value

    return parse


def output_file(text: str) -> Path:
    """A file that can be written, its folder made: better found out before an hour of measuring than after."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"cannot be written: {text!r} is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot be written: {text!r} ({error.strerror})") from error
    if not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"cannot be written: {text!r} (no permission for its folder)")
    return path
