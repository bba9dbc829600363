"""What went wrong in a run, in words that say nothing about where it was made."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

FOLDERS = re.compile(r"(?<![\w.])/(?:[^/\s'\"]+/)+")
"""The folders of an absolute path."""


class UnwrittenError(OSError):
    """A result that there is no place for."""


def without_folders(text: str) -> str:
    """The text with absolute paths cut to their last names.

    >>> without_folders("no file /home/someone/sets/mnist")
    'no file mnist'
    """
    return FOLDERS.sub("", text)


def told(error: BaseException) -> str:
    """What went wrong, and where."""
    if isinstance(error, UnwrittenError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({where})"
