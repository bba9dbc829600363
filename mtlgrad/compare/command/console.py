"""Where the commands print."""

from __future__ import annotations

from rich.console import Console


def make_console() -> Console:
    """As wide as the terminal; wide enough for a table where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=140)
