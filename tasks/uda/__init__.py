"""Unsupervised domain adaptation on digits."""

from tasks.uda.task import UDA

__all__ = ["UDA"]
