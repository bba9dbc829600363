"""Argument types shared by the commands."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """An int >= 1, or an error that says so."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be an int >= 1, got {text!r}")
    return value
