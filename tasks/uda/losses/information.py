"""How sure a classifier is: entropies, and the weights made of them."""

from __future__ import annotations

import torch
from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """H(p) = -sum_k p_k log p_k of the softmax, in nats, one a row: [N, K] to [N].

    >>> entropy(torch.zeros(1, 4))  # log 4
    tensor([1.3863])
    """
    logarithms = logits.log_softmax(dim=1)
    return -(logarithms.exp() * logarithms).sum(dim=1)


def certainty_weights(logits: Tensor, *, plus_one: bool = True) -> Tensor:
    """How much each row counts in a domain loss: 1 + e^(-H(p)), or e^(-H(p)) without `plus_one`; [N, K] to [N].

    With the 1: CDAN+E (Long et al., Conditional Adversarial Domain Adaptation, NeurIPS 2018, section 3.2). Without: the
    gradually vanishing bridge (Cui et al., CVPR 2020). Rows of which the classifier is sure count most.

    >>> certainty_weights(torch.tensor([[0.0, 0.0], [100.0, 0.0]]))
    tensor([1.5000, 2.0000])
    """
    weights = (-entropy(logits)).exp()
    return 1 + weights if plus_one else weights


def information(logits: Tensor) -> Tensor:
    """Minus the mutual information of rows and predictions: mean entropy minus entropy of the mean, [N, K] to [].

    Least where every row is sure and the classes are even (Liang et al., ICML 2020, Eq. 3).

    >>> information(torch.tensor([[100.0, 0.0], [0.0, 100.0]]))  # -log 2
    tensor(-0.6931)
    """
    mean = logits.softmax(dim=1).mean(dim=0)
    found: Tensor = entropy(logits).mean() - torch.special.entr(mean).sum()
    return found
