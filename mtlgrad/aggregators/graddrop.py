"""GradDrop: gradient sign dropout (Chen et al., NeurIPS 2020)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlgrad.aggregators.base import ElementwiseAggregator, JacobianAggregator
from mtlgrad.hyperparameters import check_number, check_sequence
from mtlgrad.method import State, Traits
from mtlgrad.spaces import Uniform, searched

# Columns a pass: what one pass reads and writes stays in cache, and no operation is large enough for torch to share it
# among threads, which costs more than it saves at this size.
_BLOCK = 1 << 15
_CELLS = 1 << 16  # values of one coordinate's coin
_BEYOND = 2.0**100  # a margin that is not 0 is at least 2^-70 of the sums


@dataclass(frozen=True)
class GradDrop(ElementwiseAggregator):
    r"""Coordinate by coordinate, keep the positive gradients or the negative ones, by a biased coin.

    .. math:: P = \tfrac12\Bigl(1 + \frac{\sum_i g_i}{\sum_i |g_i|}\Bigr), \qquad
              d = \sum_i \bigl(\ell_i + (1 - \ell_i) M_i\bigr) \circ g_i, \qquad
              M_i = [P > U][g_i > 0] + [P < U][g_i < 0], \quad U \sim \mathcal U(0, 1)

    Shapes: J [m, n] -> d [n]. One pass over J in cache-sized blocks. On the CPU a coordinate's coin is 16 random bits,
    four coordinates to a draw: U takes the midpoints of 2^16 equal cells, so that the probability of keeping a
    sign is off by at most 2^-17, and coordinates stay independent. Elsewhere U is torch's uniform float.

    Parameters
    ----------
    leak:
        Share of each gradient that passes unmasked, in [0, 1]: one number, or one per task.

    Examples
    --------
    >>> J = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> GradDrop()(J, generator=torch.Generator().manual_seed(0))
    tensor([1., 1.])

    Deviations: the paper masks gradients of the shared *activations*: that is `ActivationGradDrop`. This is the
    widespread form on parameter gradients (CAGrad, FAMO), without the sign of what is multiplied.

    References
    ----------
    Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout", NeurIPS 2020, Alg. 1.
    """

    per_task = ("leak",)

    leak: float | tuple[float, ...] = 0.0

    search_space = searched(leak=Uniform(0.0, 1.0))

    def __post_init__(self) -> None:
        object.__setattr__(self, "leak", _checked_leak(self.leak))

    @property
    def traits(self) -> Traits:
        return _leak_traits(self.leak)

    def _step(
        self,
        jacobian: Tensor,
        state: State,
        *,
        losses: Tensor | None,
        generator: torch.Generator | None,
        features: Tensor | None,
    ) -> tuple[Tensor, State]:
        wide = torch.promote_types(jacobian.dtype, torch.float32)
        leaks = _leak_list(self.leak, len(jacobian))
        direction = torch.empty_like(jacobian[0])
        width = _BLOCK if jacobian.device.type == "cpu" else max(jacobian.shape[1], 1)
        for out, block in zip(direction.split(width), jacobian.split(width, dim=1), strict=True):
            rows = block.to(wide).unbind()
            above, below = _sum_by_sign(rows)
            # Scaled up beyond either sum, the margin is cut back to the one that it points at (0 where it is a tie).
            pull = _margin(above, below, generator).mul_(_BEYOND)
            if not any(leaks):
                out.copy_(pull.clamp_(below, above))
                continue
            above, below = _sum_by_sign([(1 - leak) * row for leak, row in zip(leaks, rows, strict=True)])
            pull.clamp_(below, above)
            for leak, row in zip(leaks, rows, strict=True):
                pull += leak * row
            out.copy_(pull)
        return direction, state


@dataclass(frozen=True)
class ActivationGradDrop(JacobianAggregator):
    r"""`GradDrop` as published: feature by feature of the shared activations, one coin for the whole batch.

    .. math:: \hat g_i = \sum_b \operatorname{sign}(z_b) \circ \frac{\partial L_i}{\partial z_b}, \qquad
              P = \tfrac12\Bigl(1 + \frac{\sum_i \hat g_i}{\sum_i |\hat g_i|}\Bigr), \qquad
              M_i = [P > U][\hat g_i > 0] + [P < U][\hat g_i < 0], \qquad
              d_b = \sum_i \bigl(\ell_i + (1 - \ell_i) M_i\bigr) \circ \frac{\partial L_i}{\partial z_b}

    Shapes: features z [b, ...] of n entries, J [m, n] the gradients at z, flattened sample by sample (row-major,
    however z lies in memory) -> d [n]. In a training loop:
    ``Balancer(ActivationGradDrop(), shared=...).backward(losses, features=z)``.

    Parameters
    ----------
    leak:
        Share of each gradient that passes unmasked, in [0, 1]: one number, or one per task.

    Examples
    --------
    >>> z = torch.tensor([[1.0, -1.0], [2.0, 0.0]])  # two samples, two features
    >>> J = torch.tensor([[1.0, 1.0, 1.0, 5.0], [2.0, 3.0, -1.0, 7.0]])
    >>> ActivationGradDrop()(J, features=z, generator=torch.Generator().manual_seed(0)).view(2, 2)
    tensor([[ 3.,  4.],
            [ 0., 12.]])

    Deviations: the coin compares P itself with U (the paper's f is the identity). A feature whose sums all vanish, such
    as a ReLU that is off for the whole batch, passes its leak only; its own gradient is zero there anyway. The lingvo
    code's renormalisation (which multiplies by the inverse of what it means to) is not part of the algorithm.

    References
    ----------
    Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout", NeurIPS 2020, Alg. 1.
    """

    per_task = ("leak",)

    leak: float | tuple[float, ...] = 0.0

    search_space = searched(leak=Uniform(0.0, 1.0))

    def __post_init__(self) -> None:
        object.__setattr__(self, "leak", _checked_leak(self.leak))

    @property
    def traits(self) -> Traits:
        return dataclasses.replace(_leak_traits(self.leak), needs_features=True)

    def _step(
        self,
        jacobian: Tensor,
        state: State,
        *,
        losses: Tensor | None,
        generator: torch.Generator | None,
        features: Tensor | None,
    ) -> tuple[Tensor, State]:
        assert features is not None
        m, batch = len(jacobian), len(features)
        wide = torch.promote_types(jacobian.dtype, torch.float32)
        gradients = jacobian.to(wide).view(m, batch, -1)
        signed = (features.reshape(batch, -1).sign().to(wide) * gradients).sum(1)
        mask = (signed * _margin(*_sum_by_sign(signed.unbind()), generator).sign() > 0).to(wide)
        leak = torch.tensor(_leak_list(self.leak, m), dtype=wide, device=jacobian.device)[:, None]
        passed = leak + (1 - leak) * mask
        return (passed[:, None] * gradients).sum(0).reshape(-1).to(jacobian.dtype), state


def _checked_leak(leak: float | Sequence[float]) -> float | tuple[float, ...]:
    if not isinstance(leak, Sequence):
        check_number("leak", leak, low=0, high=1)
        return leak
    check_sequence("leak", leak)
    for k, one in enumerate(leak):
        check_number(f"leak[{k}]", one, low=0, high=1)
    return tuple(leak)


def _leak_traits(leak: float | tuple[float, ...]) -> Traits:
    if isinstance(leak, tuple):
        return Traits(stochastic=True, permutation_equivariant=False, min_tasks=len(leak), max_tasks=len(leak))
    return Traits(stochastic=True)


def _leak_list(leak: float | tuple[float, ...], m: int) -> list[float]:
    return list(leak) if isinstance(leak, tuple) else [leak] * m


def _sum_by_sign(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The sum of the rows' positive parts and that of their negative parts, [n] each."""
    above, below = rows[0].clamp(min=0), rows[0].clamp(max=0)
    for row in rows[1:]:
        above += row.clamp(min=0)
        below += row.clamp(max=0)
    return above, below


def _margin(above: Tensor, below: Tensor, generator: torch.Generator | None) -> Tensor:
    """[n], > 0 where P > U and < 0 where P < U, for P = above / (above - below); no division, so 0 / 0 is no case."""
    return torch.lerp(above, below, _coins(above, generator))


def _coins(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """U [n] in (0, 1)."""
    n = like.shape[0]
    if like.device.type != "cpu":
        return torch.rand(n, dtype=like.dtype, device=like.device, generator=generator)
    words = torch.empty(-(-n // 4), dtype=torch.int64)
    words.random_(torch.iinfo(torch.int64).min, None, generator=generator)
    return words.view(torch.int16)[:n].to(like.dtype).add_((_CELLS + 1) / 2).mul_(1 / _CELLS)
