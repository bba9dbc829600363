"""GradDrop: gradient sign dropout (Chen et al., NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import ElementwiseAggregator
from mtlgrad.method import State, Traits, check_number

_BLOCK = 1 << 15  # columns a pass: m of them stay in cache between the operations


@dataclass(frozen=True)
class GradDrop(ElementwiseAggregator):
    r"""Coordinate by coordinate, keep the positive gradients or the negative ones, by a biased coin.

    .. math:: P = \tfrac12\Bigl(1 + \frac{\sum_i g_i}{\sum_i |g_i|}\Bigr), \qquad
              d = \sum_i \bigl(\ell_i + (1 - \ell_i) M_i\bigr) \circ g_i, \qquad
              M_i = [P > U][g_i > 0] + [P < U][g_i < 0], \quad U \sim \mathcal U(0, 1)

    Shapes: J [m, n] -> d [n]. One pass over J in cache-sized blocks; one random number per coordinate.

    Parameters
    ----------
    leak:
        Share of each gradient that passes unmasked, in [0, 1]: one number, or one per task.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> GradDrop()(J, generator=torch.Generator().manual_seed(0))
    tensor([1., 1.])

    Deviations: the paper masks gradients of the shared *activations*, with the sign of the activation as a
    pre-multiplier and the batch summed in P. This is the widespread form on parameter gradients (CAGrad, FAMO).

    References
    ----------
    Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout", NeurIPS 2020, Alg. 1.
    """

    leak: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.leak, Sequence):
            object.__setattr__(self, "leak", tuple(self.leak))
            for k, one in enumerate(self.leak):
                check_number(f"leak[{k}]", one, low=0, high=1)
        else:
            check_number("leak", self.leak, low=0, high=1)

    @property
    def traits(self) -> Traits:
        if isinstance(self.leak, tuple):
            m = len(self.leak)
            return Traits(stochastic=True, permutation_equivariant=False, min_tasks=m, max_tasks=m)
        return Traits(stochastic=True)

    def _step(
        self, jacobian: Tensor, state: State, *, losses: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        wide = torch.promote_types(jacobian.dtype, torch.float32)
        leak = torch.tensor(self.leak, dtype=wide, device=jacobian.device)
        leak = leak.expand(jacobian.shape[0]) if leak.ndim == 0 else leak
        direction = torch.empty_like(jacobian[0])
        width = _BLOCK if jacobian.device.type == "cpu" else max(jacobian.shape[1], 1)
        blocks = zip(direction.split(width), jacobian.split(width, dim=1), strict=True)
        for out, block in blocks:
            out.copy_(_keep_one_sign(block.to(wide), leak, generator))
        return direction, state


def _keep_one_sign(block: Tensor, leak: Tensor, generator: torch.Generator | None) -> Tensor:
    positive = block.clamp(min=0)
    above, total = positive.sum(0), block.sum(0)
    size = 2 * above - total  # sum of |g_i|
    coin = torch.rand(block.shape[1], dtype=block.dtype, device=block.device, generator=generator)
    keep_positive = above > coin * size  # P > U, with P = above / size
    if not leak.any():
        return torch.where(keep_positive, above, total - above)
    masked = torch.where(keep_positive, (1 - leak) @ positive, (1 - leak) @ (block - positive))
    return masked + leak @ block
