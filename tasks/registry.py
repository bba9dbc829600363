"""Tasks by name, imported when asked for: a suite that needs no detector pays for none."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, cast

from tasks.base import Task

TASKS: dict[str, str] = {
    "detection": "tasks.detection.task:Detection",
    "retrieval": "tasks.retrieval.task:Retrieval",
    "toy": "tasks.toy.task:Toy",
    "uda": "tasks.uda.task:UDA",
}
"""Name to `module:class`. Each class takes `steps` among its options: the length of a run, schedules included."""


def task_class(name: str) -> type[Task]:
    """The class of the task called `name`; ValueError listing the known names where there is none.

    >>> task_class("uda").metric
    'accuracy'
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; known: {', '.join(TASKS)}")
    module, _, attribute = TASKS[name].partition(":")
    return cast(type[Task], getattr(importlib.import_module(module), attribute))


def make_task(name: str, options: Mapping[str, Any]) -> Task:
    """A task that is not set up yet. Unknown options raise ValueError listing the known ones."""
    kind = task_class(name)
    known = list(inspect.signature(kind).parameters)
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(f"task {name!r} has no option {unknown[0]!r}; known: {', '.join(known)}")
    return kind(**options)
