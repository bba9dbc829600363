"""CR-MOGM: smoothed weights for stochastic multi-objective methods (Zhou et al., NeurIPS 2022)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.aggregators.wrapper import Wrapper, check_inner, inner_state, prefixed
from mtlgrad.aggregators.wrappers import of_other_gradients
from mtlgrad.hyperparameters import check_number
from mtlgrad.method import State, Traits
from mtlgrad.presence import among_present
from mtlgrad.spaces import Space, Uniform


@dataclass(frozen=True)
class CRMOGM(Wrapper):
    r"""Another method's weights, averaged with those of the steps before, from equal weights on.

    .. math:: \lambda_t = \alpha \lambda_{t-1} + (1 - \alpha)\, w^{\text{inner}}(G_t), \qquad \lambda_0 = \tfrac1m,
              \qquad d_t = \lambda_t J_t

    `Ema` is the same average corrected for its start, so that its first step is the inner method's; here the first
    steps are nearly the mean's.

    Shapes: G [m, m] -> lambda [m]. State: lambda [m], and the inner's. Where the inner method's weights are on the
    simplex, absent tasks keep their share of lambda, and the present ones' is brought to the sum 1.

    Parameters
    ----------
    inner:
        Any Gramian method, the paper's are those with weights on the simplex.
    alpha:
        In [0, 1]. 0 is the inner method, 1 the mean.

    Examples
    --------
    >>> from mtlgrad import MGDA
    >>> CRMOGM(MGDA(), alpha=0.5)(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))  # w = ((.9, .1) + (.5, .5)) / 2
    tensor([0.7000, 0.9000])

    Deviations: alpha is one number; the paper lets it grow towards 1 as the learning rate falls: make a value a phase.

    References
    ----------
    Zhou, Zhang, Jiang, Zhong, Gu, Zhu, "On the Convergence of Stochastic Multi-Objective Gradient Manipulation and
    Beyond", NeurIPS 2022, Algorithm 1.
    """

    inner: GramAggregator
    alpha: float = 0.9

    def __post_init__(self) -> None:
        check_inner(self.inner)
        check_number("alpha", self.alpha, low=0, high=1)

    @property
    def search_space(self) -> Mapping[str, Space]:  # type: ignore[override]
        return self._space(alpha=Uniform(0.0, 0.99))

    @property
    def traits(self) -> Traits:
        mine = dataclasses.replace(self.inner.traits, stateful=True, closed_form_pair=False)
        if self.alpha == 0:
            return mine
        # Equal weights are mixed in: these do not shrink as the gradients grow.
        return dataclasses.replace(of_other_gradients(mine), scale_equivariant=mine.simplex and mine.scale_equivariant)

    def init(self, m: int, *, device: torch.device | None = None) -> State:
        equal = torch.full((m,), 1 / m, dtype=torch.float64, device=device)
        return {"weights": equal, **self._inner_init(m, device)}

    def _step(
        self, gram: Tensor, state: State, *, losses: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        weights, inner = self.inner.step(gram, inner_state(state), losses=losses, generator=generator)
        kept, share = among_present(state["weights"], 1.0) if self.inner.traits.simplex else (state["weights"], 1.0)
        weights = self.alpha * kept + (1 - self.alpha) * weights
        return weights, {"weights": weights * share, **prefixed(inner)}
