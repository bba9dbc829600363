"""What pulls a query's feature to its target's and away from the others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TRIPLETS_PER_ANCHOR = 3
"""As published."""


def batch_softmax(queries: Tensor, targets: Tensor) -> Tensor:
    """Classification of each query among the batch's targets; Vo et al. 2019, Eq. 4 with one set of all targets.

    mean_i -log( exp(q_i . t_i) / sum_j exp(q_i . t_j) )

    Parameters
    ----------
    queries, targets:
        [B, width]; row i of `targets` is what row i of `queries` asks for.

    Examples
    --------
    >>> batch_softmax(torch.zeros(4, 2), torch.zeros(4, 2))  # log 4
    tensor(1.3863)
    """
    return F.cross_entropy(queries @ targets.T, torch.arange(len(queries), device=queries.device))


def draw_triplets(count: int, *, generator: torch.Generator) -> Tensor:
    """Triplets (anchor, positive, negative) among `count` queries followed by their `count` targets.

    Each of the 2 * count features is an anchor of three triplets with distinct negatives; its positive is the other
    one of its pair.

    Parameters
    ----------
    count:
        Pairs.
    generator:
        On the CPU.

    Returns
    -------
    Tensor
        int64 [6 * count, 3], on the CPU.

    Raises
    ------
    ValueError
        Under three pairs: an anchor would lack negatives.

    Examples
    --------
    >>> draw_triplets(3, generator=torch.Generator().manual_seed(0))[:3, :2].tolist()
    [[0, 3], [0, 3], [0, 3]]
    """
    if count < 3:
        raise ValueError(f"count={count} is out of range; allowed: int >= 3")
    anchors = torch.arange(2 * count)
    positives = (anchors + count) % (2 * count)
    # the first places of a random order of all others than the pair
    draws = torch.rand(2 * count, 2 * count, generator=generator)
    draws[anchors, anchors] = draws[anchors, positives] = torch.inf
    negatives = draws.argsort(dim=1)[:, :TRIPLETS_PER_ANCHOR]
    each = [column[:, None].expand_as(negatives).flatten() for column in (anchors, positives)]
    return torch.stack([*each, negatives.flatten()], dim=1)


def soft_triplet(queries: Tensor, targets: Tensor, triplets: Tensor) -> Tensor:
    """Soft triplet loss; Vo et al. 2019, Eq. 5.

    mean over triplets (a, p, n) of log(1 + exp(|f_a - f_p|^2 - |f_a - f_n|^2))

    Deviation: the gradient is the true one, where the hand-written one of the published code is half of it.

    Parameters
    ----------
    queries, targets:
        [B, width] each; f is the queries followed by the targets.
    triplets:
        int64 [T, 3], as from `draw_triplets`.

    Examples
    --------
    >>> triplets = draw_triplets(4, generator=torch.Generator().manual_seed(0))
    >>> soft_triplet(torch.zeros(4, 2), torch.zeros(4, 2), triplets)  # log 2
    tensor(0.6931)
    """
    anchors, positives, negatives = torch.cat([queries, targets])[triplets.to(queries.device)].unbind(dim=1)
    near = (anchors - positives).square().sum(dim=1)
    far = (anchors - negatives).square().sum(dim=1)
    return F.softplus(near - far).mean()


def gallery_softmax(queries: Tensor, gallery: Tensor, correct: Tensor, admitted: Tensor) -> Tensor:
    """What an attacker of a trained system raises: minus the log-probability of the right images, summed over queries.

    sum_i -log( sum_{j correct} exp(q_i . x_j) / sum_{j admitted} exp(q_i . x_j) )

    The sum, so that no query's gradient depends on how queries are put into batches.

    Parameters
    ----------
    queries:
        [B, width].
    gallery:
        [N, width].
    correct, admitted:
        bool [B, N]: images that a query asks for, and images it may find at all (all but its source).

    Examples
    --------
    >>> some = torch.tensor([[True, True, False, False]])
    >>> gallery_softmax(torch.zeros(1, 2), torch.zeros(4, 2), some, torch.ones(1, 4, dtype=torch.bool))  # log 2
    tensor(0.6931)
    """
    logits = queries @ gallery.T
    right = logits.masked_fill(~correct, -torch.inf).logsumexp(dim=1)
    return (logits.masked_fill(~admitted, -torch.inf).logsumexp(dim=1) - right).sum()
