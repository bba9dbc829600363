"""Gramian methods made of other Gramian methods: weights held, weights averaged, gradients normalised first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.wrapper import Wrapper, check_inner, inner_state, prefixed
from mtlgrad.hyperparameters import check_choice, check_integer, check_number
from mtlgrad.method import State, Traits, positive
from mtlgrad.presence import among_present, powers
from mtlgrad.spaces import Choice, Space, Uniform


@dataclass(frozen=True)
class Every(Wrapper):
    r"""Asks another method every k steps only, and holds its weights in between.

    .. math:: w_t = w^{\text{inner}}\bigl(G_{k \lfloor t / k \rfloor}\bigr), \qquad d_t = w_t J_t

    With `Balancer(..., apply="loss")` a step in between costs one backward pass in place of m + 1.

    Weights are held for tasks that were decided about together: where one has come since, the inner method is asked at
    once; where some are absent, the weights of an inner method on the simplex are brought back to the sum 1.

    Shapes: G [m, m] -> w [m]. State: w and the step at which each was decided [m], a counter, and the inner's.

    Parameters
    ----------
    k:
        An int >= 1. 1 is the inner method itself.
    inner:
        Any Gramian method.

    Examples
    --------
    >>> from mtlgrad import MGDA
    >>> method = Every(k=2, inner=MGDA())
    >>> first, state = method.step(torch.diag(torch.tensor([1.0, 3.0])), method.init(2))
    >>> held, state = method.step(torch.eye(2), state)
    >>> first, held
    (tensor([0.7500, 0.2500]), tensor([0.7500, 0.2500]))

    Deviations: none; Nash-MTL calls k its update frequency. Weights held say nothing about the present gradients: of
    the inner's promises about conflict none survives k > 1, and the inner draws no random numbers in between.

    References
    ----------
    Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, Sec. 3.3 (weights updated once in a while).
    """

    k: int
    inner: GramAggregator

    def __post_init__(self) -> None:
        check_integer("k", self.k, low=1)
        check_inner(self.inner)

    @property
    def search_space(self) -> Mapping[str, Space]:  # type: ignore[override]
        return self._space(k=Choice(2, 5, 10, 25, 50))

    @property
    def traits(self) -> Traits:
        mine = dataclasses.replace(self.inner.traits, stateful=True, closed_form_pair=False)
        return mine if self.k == 1 else of_other_gradients(mine)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        return {
            "weights": torch.zeros(m, dtype=torch.float64, device=device),
            "decided": torch.zeros(m, dtype=torch.int64, device=device),  # counted from 1; 0: not yet
            "steps": torch.zeros((), dtype=torch.int64, device=device),
            **self._inner_init(m, device),
        }

    def foreseen(self, state: State) -> tuple[Tensor, State] | None:
        when, *others = set(state["decided"].tolist())
        if others or when == 0 or int(state["steps"]) + 1 - when >= self.k:
            return None
        weights = state["weights"]
        if self.inner.traits.simplex:
            if not weights.any():
                return None  # all that they were decided with is absent, and they were left with nothing
            weights, _ = among_present(weights, 1.0)
        return weights, {**state, "steps": state["steps"] + 1}

    def _step(
        self, gram: Tensor, state: State, *, losses: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        held = self.foreseen(state)
        if held is not None:
            return held
        weights, inner = self.inner.step(gram, inner_state(state), losses=losses, generator=generator)
        steps = state["steps"] + 1
        decided = torch.full_like(state["decided"], int(steps))
        return weights, {"weights": weights, "decided": decided, "steps": steps, **prefixed(inner)}


@dataclass(frozen=True)
class Ema(Wrapper):
    r"""Moving average of another method's weights: steadier decisions from noisy gradients.

    .. math:: a_t = \beta a_{t-1} + (1 - \beta)\, w^{\text{inner}}(G_t), \qquad w_t = \frac{a_t}{1 - \beta^t}, \qquad
              d_t = w_t J_t

    The division corrects for the start at zero, so that the first step is the inner method's; t counts the steps of
    each task. Where tasks come and go, the weights of an inner method on the simplex are brought back to the sum 1.

    Shapes: G [m, m] -> w [m]. State: a and the step counters t [m], and the inner's.

    Parameters
    ----------
    inner:
        Any Gramian method.
    beta:
        Forgetting rate in [0, 1). 0 is the inner method itself.

    Examples
    --------
    >>> from mtlgrad import MGDA
    >>> method = Ema(MGDA(), beta=0.5)
    >>> _, state = method.step(torch.diag(torch.tensor([1.0, 3.0])), method.init(2))
    >>> method.step(torch.eye(2), state)[0]  # (0.25 (.75, .25) + 0.5 (.5, .5)) / 0.75
    tensor([0.5833, 0.4167])

    Deviations: none. Averaged weights answer to past gradients: of the inner's promises about conflict none survives
    beta > 0.

    References
    ----------
    Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Sec. 3 (the correction of the average).
    """

    inner: GramAggregator
    beta: float = 0.9

    def __post_init__(self) -> None:
        check_inner(self.inner)
        check_number("beta", self.beta, low=0, high=1)
        if self.beta == 1:
            raise ValueError("beta must be a number in [0, 1), got 1: the moving average would never start")

    @property
    def search_space(self) -> Mapping[str, Space]:  # type: ignore[override]
        return self._space(beta=Uniform(0.0, 0.99))

    @property
    def traits(self) -> Traits:
        mine = dataclasses.replace(self.inner.traits, stateful=True, closed_form_pair=False)
        return mine if self.beta == 0 else of_other_gradients(mine)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        return {
            "average": torch.zeros(m, dtype=torch.float64, device=device),
            "steps": torch.zeros(m, dtype=torch.int64, device=device),
            **self._inner_init(m, device),
        }

    def foreseen(self, state: State) -> tuple[Tensor, State] | None:
        settled = self.inner.foreseen(inner_state(state))
        return None if settled is None else self._average(state, *settled)

    def _step(
        self, gram: Tensor, state: State, *, losses: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        weights, inner = self.inner.step(gram, inner_state(state), losses=losses, generator=generator)
        return self._average(state, weights, inner)

    def _average(self, state: State, weights: Tensor, inner: State) -> tuple[Tensor, State]:
        steps = state["steps"] + 1
        average = state["average"].lerp(weights, 1 - self.beta)
        corrected = average / (1 - powers(self.beta, steps, torch.float64))
        if self.inner.traits.simplex:
            corrected, _ = among_present(corrected, 1.0)
        return corrected, {"average": average, "steps": steps, **prefixed(inner)}


@dataclass(frozen=True)
class Normalised(Wrapper):
    r"""Another method on gradients that are brought to one size first.

    .. math:: g'_i = \frac{g_i}{n_i}, \qquad w_i = \frac{w^{\text{inner}}_i(D G D)}{n_i}, \quad
              D = \operatorname{diag}\bigl(\tfrac1n\bigr), \qquad
              n_i = \|g_i\|, \ L_i \ \text{or}\ L_i \|g_i\|

    Shapes: G [m, m], and losses [m] where they count -> w [m]: d is the inner method's direction for the normalised
    gradients. State: the inner's.

    Parameters
    ----------
    inner:
        Any Gramian method.
    by:
        n: "l2" the norm of the gradient, "loss" the loss, "loss+" their product. The names are MGDA's.

    Raises
    ------
    ValueError
        On a negative loss, unless by="l2". A loss below 1e-12 of the largest counts as that much.

    Examples
    --------
    >>> from mtlgrad import MGDA
    >>> Normalised(MGDA())(torch.tensor([[2.0, 0.0], [0.0, 0.5]]))
    tensor([0.5000, 0.5000])

    Deviations: the weights belong to the normalised gradients, as the min-norm point of these does; Sener and Koltun's
    code finds weights on normalised gradients and puts them on the losses as they were. A zero gradient stays zero.

    References
    ----------
    Sener, Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, authors' code (gradient
    normalizers l2, loss, loss+).
    """

    inner: GramAggregator
    by: Literal["l2", "loss", "loss+"] = "l2"

    def __post_init__(self) -> None:
        check_inner(self.inner)
        check_choice("by", self.by, ("l2", "loss", "loss+"))

    @property
    def search_space(self) -> Mapping[str, Space]:  # type: ignore[override]
        return self._space(by=Choice("l2", "loss", "loss+"))

    @property
    def traits(self) -> Traits:
        theirs, reads_losses = self.inner.traits, self.by != "l2"
        changed = dataclasses.replace(
            theirs,
            needs_losses=theirs.needs_losses or reads_losses,
            closed_form_pair=theirs.closed_form_pair and not reads_losses,  # a negative loss is looked for
            simplex=False,
            sums_without_conflict=False,
        )
        if self.by == "loss":
            return changed  # at given losses G keeps its scale
        return dataclasses.replace(changed, scale_equivariant=False, scale_invariant=True)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        return self._inner_init(m, device)

    def check_values(self, losses: Tensor) -> None:
        if self.by != "l2":
            positive(self, losses)
        super().check_values(losses)

    def _step(
        self, gram: Tensor, state: State, *, losses: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        inverse = torch.ones_like(gram[0])
        if self.by != "loss":
            norms = gram.diagonal().clamp(min=0).sqrt()
            inverse = torch.where(norms > 0, 1 / norms.clamp(min=torch.finfo(norms.dtype).tiny), 0)
        if self.by != "l2":
            assert losses is not None
            inverse = inverse / positive(self, losses)
        normalised = inverse[:, None] * gram * inverse
        weights, inner = self.inner.step(normalised, inner_state(state), losses=losses, generator=generator)
        return inverse * weights, prefixed(inner)


def of_other_gradients(traits: Traits) -> Traits:
    """What is left of a method's promises once its weights meet other gradients than they were made for."""
    return dataclasses.replace(traits, non_conflicting=False, sums_without_conflict=False, scale_invariant=False)
