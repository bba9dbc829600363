"""The two losses of maximum classifier discrepancy, and the reading of its two classifiers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def classification(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Cross-entropy summed over the classifiers, averaged over the batch.

    sum_i CE(logits_i, labels); Saito et al. 2018, Eq. 2 once per classifier (Eq. 3).

    Parameters
    ----------
    logits:
        One [N, K] tensor per classifier.
    labels:
        int64 [N].

    Examples
    --------
    >>> classification([torch.zeros(1, 4), torch.zeros(1, 4)], torch.tensor([2]))  # 2 log 4
    tensor(2.7726)
    """
    return torch.stack([F.cross_entropy(one, labels) for one in logits]).sum()


def discrepancy(logits: Sequence[Tensor]) -> Tensor:
    """How far the two classifiers' probabilities lie apart: mean over batch and classes of |p1 - p2|.

    d(p1, p2) = 1/K sum_k |p1_k - p2_k|, averaged over the batch; Saito et al. 2018, Eq. 1. In [0, 2/K].

    Parameters
    ----------
    logits:
        Two [N, K] tensors.

    Raises
    ------
    ValueError
        There are not two.

    Examples
    --------
    >>> sure = torch.tensor([[100., 0.]])
    >>> discrepancy([sure, sure.flip(1)]), discrepancy([sure, sure])
    (tensor(1.), tensor(0.))
    """
    if len(logits) != 2:
        raise ValueError(f"logits holds {len(logits)} tensors; allowed: 2, one per classifier")
    first, second = (one.softmax(dim=1) for one in logits)
    return (first - second).abs().mean()


def ensemble(logits: Sequence[Tensor]) -> Tensor:
    """The combined prediction, [N, K]: the mean of the classifiers' probabilities.

    >>> ensemble([torch.tensor([[100., 0.]]), torch.tensor([[0., 0.]])])
    tensor([[0.7500, 0.2500]])
    """
    return torch.stack([one.softmax(dim=1) for one in logits]).mean(dim=0)
