"""The game of features against a domain discriminator in one backward pass: gradient reversal and the domain loss."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, coefficient: float) -> Tensor:
        ctx.coefficient = coefficient
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.coefficient * gradients[0], None


def reverse(values: Tensor, coefficient: float = 1.0) -> Tensor:
    """`values` unchanged, whose gradient is multiplied by -`coefficient` on its way back.

    What stands behind descends on a loss while what stands before ascends on `coefficient` times it, in one backward
    pass (Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 2016, Eq. 10 to 13).

    Examples
    --------
    >>> x = torch.ones(2, requires_grad=True)
    >>> reverse(x, 0.5).sum().backward()
    >>> x.grad
    tensor([-0.5000, -0.5000])
    """
    reversed_: Tensor = _Reverse.apply(values, coefficient)  # type: ignore[no-untyped-call]
    return reversed_


def domain_confusion(
    source: Tensor, target: Tensor, *, source_weights: Tensor | None = None, target_weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy of a discriminator that calls the source 1 and the target 0, the two domains counting alike.

    1/2 (sum_i w_i BCE(s_i, 1) / sum_i w_i + sum_j v_j BCE(t_j, 0) / sum_j v_j): with w = v = 1 Eq. 1 of Ganin et al.
    2016; with weights, those of CDAN+E (Long et al., NeurIPS 2018, Eq. 7) normalised within each domain.

    Parameters
    ----------
    source, target:
        Logits [N] or [N, 1] and [M] or [M, 1].
    source_weights, target_weights:
        Of the rows, [N] and [M]; None: all alike. Gradients flow into them unless they are detached.

    Examples
    --------
    >>> domain_confusion(torch.zeros(3), torch.zeros(5))  # log 2: it cannot tell
    tensor(0.6931)
    """
    halves = []
    for logits, called, weights in ((source, 1.0, source_weights), (target, 0.0, target_weights)):
        flat = logits.flatten()
        losses = F.binary_cross_entropy_with_logits(flat, torch.full_like(flat, called), reduction="none")
        halves.append(losses.mean() if weights is None else (weights * losses).sum() / weights.detach().sum())
    return (halves[0] + halves[1]) / 2
