"""Image retrieval by a reference image and a modifying text, trained against adversarial queries."""

from tasks.retrieval.task import Retrieval

__all__ = ["Retrieval"]
