"""Pseudo-labels of target rows from clusters that are found anew once a period."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tasks.uda.losses import centroids, nearest


class Clusters:
    """One centre a class, found on the whole target every `period` steps (`tasks.uda.losses.centroids`).

    Parameters
    ----------
    period:
        Steps from one search to the next.
    wait:
        Whether the first search waits for a period too; until then there are no centres.

    Examples
    --------
    >>> clusters = Clusters(2)
    >>> clusters.advance(lambda: (torch.eye(2), torch.eye(2)))
    >>> clusters.labels(torch.tensor([[1.0, 3.0]]))
    tensor([1])
    """

    def __init__(self, period: int, *, wait: bool = False) -> None:
        self.period = period
        self.centres: Tensor | None = None
        self.steps_since = 0 if wait else period

    def advance(self, whole_target: Callable[[], tuple[Tensor, Tensor]]) -> None:
        """Begin a step; if a search is due, `whole_target` gives features [N, D] and probabilities [N, K]."""
        if self.steps_since == self.period:
            self.centres, self.steps_since = centroids(*whole_target()), 0
        self.steps_since += 1

    def labels(self, features: Tensor) -> Tensor | None:
        """The class of the nearest centre, [N, D] to int64 [N]; None before the first search."""
        return None if self.centres is None else nearest(features.detach(), self.centres)

    def state_dict(self) -> dict[str, Any]:
        return {"centres": self.centres, "steps_since": self.steps_since}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        centres = state["centres"]
        self.centres = None if centres is None else centres.to(device)
        self.steps_since = state["steps_since"]
