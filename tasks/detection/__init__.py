"""Object detection: one network, where the objects are and what they are."""

from tasks.detection.task import Detection

__all__ = ["Detection"]
