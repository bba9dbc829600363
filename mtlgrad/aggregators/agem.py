"""A-GEM: averaged gradient episodic memory (Chaudhry et al., ICLR 2019), for a main task and its auxiliaries."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import GramAggregator
from mtlgrad.hyperparameters import check_integer
from mtlgrad.method import Traits


@dataclass(frozen=True)
class AGEM(GramAggregator):
    r"""The auxiliary tasks' summed gradient gives up its part against the main task, then both are added.

    With r the main task's gradient and a the sum of all others (Eq. 11 of the paper):

    .. math:: d = r + \tilde a, \qquad \tilde a = a - \frac{\min(0,\ a^\top r)}{\|r\|^2}\, r

    Shapes: J [m, n] -> d [n]; G [m, m] -> w [m]. d never conflicts with the main task: d . r >= |r|^2. It may with an
    auxiliary one. A zero main gradient conflicts with nothing.

    Parameters
    ----------
    main:
        Index of the main task, from 0. At least main + 1 tasks are needed, and this one at every step.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> AGEM(main=0)(J)
    tensor([1., 1.])
    >>> AGEM(main=1)(J)
    tensor([-0.5000,  1.5000])

    Related: `PCD`, where the main task's gradient is bent so that every other task keeps a share of progress; here the
    others give way to the main task.

    Deviations: in continual learning r is the gradient on the memory of old tasks and only constrains: the step is
    a~ alone. Here the main task is being learnt, so r is part of the step. The auxiliaries are projected as one sum,
    as the paper projects the one gradient of all that is learnt at a step; projecting each on its own would also
    remove what the other auxiliaries already make up for.

    References
    ----------
    Chaudhry, Ranzato, Rohrbach, Elhoseiny, "Efficient Lifelong Learning with A-GEM", ICLR 2019, Eq. 11.
    """

    of_task = ("main",)

    main: int = 0

    def __post_init__(self) -> None:
        check_integer("main (the index of a task)", self.main, low=0)

    @property
    def traits(self) -> Traits:
        return Traits(
            permutation_equivariant=False,
            sums_without_conflict=True,
            closed_form_pair=True,
            min_tasks=self.main + 1,
        )

    def _weights(self, gram: Tensor, *, losses: Tensor | None, generator: torch.Generator | None) -> Tensor:
        square = gram[self.main, self.main]
        against = (gram[self.main].sum() - square).clamp(max=0)
        weights = torch.ones_like(gram[0])
        weights[self.main] -= against / torch.where(square > 0, square, 1)
        return weights
