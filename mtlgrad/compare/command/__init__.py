"""The command line: `mtlgrad COMMAND`. A module for each command."""

from mtlgrad.compare.command.main import main

__all__ = ["main"]
