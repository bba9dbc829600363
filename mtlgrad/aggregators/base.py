"""The two kinds of gradient aggregator: those that read the Gramian only, and those that read J itself."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from mtlgrad.aggregators.checks import check_features, check_gram, check_jacobian
from mtlgrad.aggregators.host import check_is_gram, check_rows, is_gram_of_two
from mtlgrad.linalg import combine, gram, without_autocast
from mtlgrad.method import Method, State, check_generator, check_losses


class GradientAggregator(Method):
    """A rule that turns the Jacobian J [m, n] of m tasks into one direction d [n]."""

    @abstractmethod
    def __call__(
        self, jacobian: Tensor, *, losses: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """The direction of a first step, from a fresh state.

        Parameters
        ----------
        jacobian:
            J [m, n], any floating dtype and device; row i is the gradient of task i.
        losses:
            Loss values [m], for the methods whose traits say `needs_losses`.
        generator:
            Source of randomness for stochastic methods; None is torch's default generator. Methods that read J itself
            draw where J is, and the generator must be there too; all others take a generator of any device.

        Returns
        -------
        Tensor
            d [n], in the dtype and on the device of `jacobian`. The optimizer subtracts it. Detached, as every result
            of every method is: a decision is a constant of the step.

        Raises
        ------
        ValueError, TypeError
            On a wrong shape or dtype, and for a number of tasks that the method is not defined for; a method that reads
            the Gramian also where J is not finite (on an accelerator two tasks in closed form give NaN).
        """


class GramAggregator(GradientAggregator):
    """A rule that reads G = J J^T only: it yields weights w [m], and d = w @ J.

    A stateless member writes `_weights`; a stateful one derives from `StatefulGramAggregator`.
    Members see G in float64: on its own device when m = 2 and the method has a closed form
    (`traits.closed_form_pair`), on the CPU otherwise.
    """

    reads: ClassVar[Literal["gram"]] = "gram"

    @abstractmethod
    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """w [m] float64 from a valid G [m, m] float64."""

    def _step(
        self, gram: Tensor, state: State, *, losses: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        return self._weights(gram, losses=losses, generator=generator), state

    def foreseen(self, state: State) -> tuple[Tensor, State] | None:
        """(w [m], new state) where the next step is settled before its Gramian is seen; None: G is needed.

        The `Balancer` then spares itself the m backward passes that G costs, where it can (`apply="loss"`).
        """
        return None

    @final
    def step(
        self,
        gram: Tensor,
        state: State,
        *,
        losses: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, State]:
        """One step with explicit state: (G, state) -> (w, new state). Shapes and errors as in `weights`."""
        return self._decide(gram, check_gram(gram), state, losses, generator)

    def _decide(
        self, gram: Tensor, m: int, state: State, losses: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        self.check_tasks(m)
        check_losses(self, losses, m)
        check_generator(generator)
        seen = self._seen(gram)
        weights, state = self._step(
            seen,
            {name: value.to(seen.device) for name, value in state.items()},
            losses=None if losses is None else self._placed(losses),
            generator=generator,
        )
        return _like(weights, gram), state

    @final
    def weights(
        self, gram: Tensor, *, losses: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """The weights of a first step, from a fresh state.

        Parameters
        ----------
        gram:
            G = J J^T [m, m], any floating dtype and device. Nearly dependent gradients show in float64 only: `__call__`
            and the Balancer form G so from J of any dtype.
        losses, generator:
            As in `__call__`.

        Returns
        -------
        Tensor
            w [m], in the dtype and on the device of `gram` (solved in float64). The direction is w @ J.

        Raises
        ------
        ValueError, TypeError
            As in `__call__`; and where G is no Gramian: not finite, not symmetric, or indefinite beyond the rounding of
            its dtype (1e-6 relative to |g_i| |g_j| in float64, 1e-3 in float32). Two tasks in closed form on an
            accelerator would have to wait for its values: w is then NaN.
        """
        m = check_gram(gram)
        return self._decide(gram, m, self.init(m), losses, generator)[0]

    @final
    def __call__(
        self, jacobian: Tensor, *, losses: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        m = check_jacobian(jacobian)
        jacobian = jacobian.detach()
        measured = gram(jacobian)
        if measured.is_cpu:
            check_rows(measured)
        weights = self._decide(measured, m, self.init(m), losses, generator)[0]
        return combine(weights, jacobian, measured)

    def _fell_back(self, gram: Tensor) -> Tensor:
        """bool [] from a valid G [m, m] float64; see `fell_back`."""
        return torch.zeros((), dtype=torch.bool, device=gram.device)

    @final
    def fell_back(self, gram: Tensor) -> Tensor:
        """bool []: at this G the method's definition has no answer, and a documented one stood in for it.

        Always false for a method that is defined everywhere. For two tasks and a closed form, nothing here waits for
        the device. Shapes and errors as in `weights`.
        """
        m = check_gram(gram)
        self.check_tasks(m)
        return self._fell_back(self._seen(gram)).to(gram.device)

    def _seen(self, gram: Tensor) -> Tensor:
        """G as members see it, a Gramian: an error on the CPU; elsewhere NaN, for looking would make the host wait."""
        seen = self._placed(gram)
        if not seen.is_cpu:
            return torch.where(is_gram_of_two(seen, gram.dtype), seen, torch.nan)
        check_is_gram(seen, gram.dtype)
        return seen

    def _placed(self, tensor: Tensor) -> Tensor:
        """float64, on the device where members see it; `tensor` is G [m, m] or losses [m]."""
        if tensor.is_cpu and tensor.dtype == torch.float32:
            return torch.from_numpy(tensor.detach().numpy().astype(np.float64))  # three times as quick as `to`
        stays = len(tensor) == 2 and self.traits.closed_form_pair and tensor.device.type != "mps"  # has no float64
        return tensor.detach().to(tensor.device if stays else torch.device("cpu"), torch.float64)


class StatefulGramAggregator(GramAggregator):
    """A Gramian method that carries state: it writes `init` and `_step`."""

    @abstractmethod
    def _step(
        self, gram: Tensor, state: State, *, losses: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        """(G, state) -> (w [m] float64, new state); neither argument is modified."""

    @final
    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return self._step(gram, self.init(gram.shape[0]), losses=losses, generator=generator)[0]


class HarmonizingAggregator(GramAggregator):
    """A Gramian method that first changes each task's gradient, then sums: g~_i = sum_j A_ij g_j.

    The paper's "harmonised gradients". w = 1^T A, and A G A^T holds the inner products after harmonisation.
    """

    @abstractmethod
    def _parts(self, gram: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """A [m, m] float64 from a valid G [m, m] float64."""

    @final
    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return self._parts(gram, generator=generator).sum(0)

    @final
    def parts(self, gram: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """A [m, m], in the dtype of `gram`: row i holds the coefficients of the harmonised gradient of task i."""
        self.check_tasks(check_gram(gram))
        check_generator(generator)
        return self._parts(self._seen(gram), generator=generator).to(gram.device, gram.dtype)


class JacobianAggregator(GradientAggregator):
    """A rule that reads J itself. It writes `_step`, and `init_like` too if it is stateful."""

    reads: ClassVar[Literal["jacobian"]] = "jacobian"

    def init_like(self, jacobian: Tensor) -> State:
        """The state before the first step, its tensors shaped and placed after `jacobian` [m, n]."""
        return self.init(jacobian.shape[0], device=jacobian.device)

    @abstractmethod
    def _step(
        self,
        jacobian: Tensor,
        state: State,
        *,
        losses: Tensor | None,
        generator: torch.Generator | None,
        features: Tensor | None,
    ) -> tuple[Tensor, State]:
        """(J, state) -> (d [n], new state); no argument is modified, and no result shares memory with J."""

    @final
    def step(
        self,
        jacobian: Tensor,
        state: State,
        *,
        losses: Tensor | None = None,
        generator: torch.Generator | None = None,
        features: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """One step with explicit state: (J [m, n], state) -> (d [n], new state).

        `features` is z [b, ...] of n entries, for the methods whose traits say `needs_features`: J holds the
        gradients at z, flattened.
        """
        m = check_jacobian(jacobian)
        self.check_tasks(m)
        check_losses(self, losses, m)
        check_generator(generator)
        check_features(self, features, jacobian.shape[1])
        with without_autocast(jacobian):
            return self._step(
                jacobian.detach(),
                state,
                losses=losses,
                generator=generator,
                features=None if features is None else features.detach(),
            )

    @final
    def __call__(
        self,
        jacobian: Tensor,
        *,
        losses: Tensor | None = None,
        generator: torch.Generator | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        check_jacobian(jacobian)
        state = self.init_like(jacobian)
        return self.step(jacobian, state, losses=losses, generator=generator, features=features)[0]


class ElementwiseAggregator(JacobianAggregator):
    """A Jacobian method whose d_k depends on column k of J only, so that J may be cut into column blocks."""


def _like(weights: Tensor, gram: Tensor) -> Tensor:
    """`weights` in the dtype and on the device of `gram`."""
    if gram.is_cpu and gram.dtype == torch.float32:
        return torch.from_numpy(weights.numpy().astype(np.float32))  # three times as quick as `to`
    return weights.to(gram.device, gram.dtype)
