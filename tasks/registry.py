"""The built-in problems by name."""

from __future__ import annotations

PROBLEMS: dict[str, str] = {
    "detection": "tasks.detection.task:Detection",
    "retrieval": "tasks.retrieval.task:Retrieval",
    "toy": "tasks.toy.task:Toy",
    "uda": "tasks.uda.task:UDA",
}
"""Name to `module:class`, as `mtlgrad.compare.registry` reads it."""
