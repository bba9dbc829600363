"""The margin disparity discrepancy between a classifier and its adversary."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def disagreement(logits: Tensor, labels: Tensor) -> Tensor:
    """-log(1 - p_label), averaged over the batch: [N, K] and int64 [N] to [].

    >>> disagreement(torch.zeros(1, 4), torch.tensor([0]))  # -log(3/4)
    tensor(0.2877)
    """
    others = logits.masked_fill(F.one_hot(labels, logits.shape[1]).bool(), -torch.inf)
    return (logits.logsumexp(dim=1) - others.logsumexp(dim=1)).mean()


def margin_disparity(
    source: Tensor, source_labels: Tensor, target: Tensor, target_labels: Tensor, *, margin: float
) -> Tensor:
    """What the adversary minimises: to agree with the classifier on the source, and not on the target.

    margin CE(f'(s), h(s)) - log(1 - p'_{h(t)}(t)), averaged (Zhang et al., Bridging Theory and Algorithm for Domain
    Adaptation, ICML 2019, Eq. 29 and 30, where a margin of rho becomes the factor gamma = e^rho).

    Parameters
    ----------
    source, target:
        The adversary's logits [N, K] and [M, K].
    source_labels, target_labels:
        What the classifier predicts, int64 [N] and [M].
    margin:
        gamma; 4 in the paper.
    """
    return margin * F.cross_entropy(source, source_labels) + disagreement(target, target_labels)
