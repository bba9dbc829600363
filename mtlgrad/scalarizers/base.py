"""Methods that read loss values only: one backward pass, of the losses weighted."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from mtlgrad.aggregators.checks import check_jacobian
from mtlgrad.linalg import combine
from mtlgrad.method import Method, State, check_generator, check_losses

LOG_BOUND = 30.0
"""Bound of a learned log weight: e^30 = 1e13 is beyond any ratio of losses and well within float32."""


class Scalarizer(Method):
    """A rule that reads the losses [m] only: weights w [m], and the network descends on sum_i w_i L_i.

    A scalarization S(L) that is not linear is stated by its gradient: w_i = dS/dL_i, detached.
    A stateless member writes `_weights`; a stateful one derives from `StatefulScalarizer`.
    """

    reads: ClassVar[Literal["losses"]] = "losses"

    @abstractmethod
    def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """w [m] float64 from detached losses [m] float64."""

    def _step(self, losses: Tensor, state: State, *, generator: torch.Generator | None) -> tuple[Tensor, State]:
        return self._weights(losses, generator=generator), state

    @final
    def step(self, losses: Tensor, state: State, *, generator: torch.Generator | None = None) -> tuple[Tensor, State]:
        """One step with explicit state: (losses [m], state) -> (w [m], new state)."""
        check_losses(self, losses)
        self.check_tasks(losses.shape[0])
        check_generator(generator)
        weights, state = self._step(losses.detach().to(torch.float64), state, generator=generator)
        limit = torch.finfo(losses.dtype).max  # a weight 1 / L may leave the range of the losses' dtype
        return weights.clamp(-limit, limit).to(losses.dtype), state

    @final
    def loss_weights(self, losses: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """The weights [m] of a first step, from a fresh state, for losses [m] of any floating dtype."""
        check_losses(self, losses)
        return self.step(losses, self.init(losses.shape[0]), generator=generator)[0]

    @final
    def __call__(
        self, jacobian: Tensor, *, losses: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """d = w @ J [n] for J [m, n], as a gradient aggregator would be called.

        `losses` [m] may be left out for the methods whose weights do not depend on them.
        """
        m = check_jacobian(jacobian)
        check_losses(self, losses, m)
        seen = torch.ones(m, dtype=torch.float64, device=jacobian.device) if losses is None else losses.double()
        return combine(self.loss_weights(seen, generator=generator), jacobian.detach())


class StatefulScalarizer(Scalarizer):
    """A scalarizer that carries state: it writes `init` and `_step`."""

    @abstractmethod
    def _step(self, losses: Tensor, state: State, *, generator: torch.Generator | None) -> tuple[Tensor, State]:
        """(losses, state) -> (w [m] float64, new state); neither argument is modified."""

    @final
    def _weights(self, losses: Tensor, *, generator: torch.Generator | None) -> Tensor:
        return self._step(losses, self.init(losses.shape[0]), generator=generator)[0]
