"""Recall of a query's target among a gallery, in blocks: the full gallery's similarities are never held at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

AT = (1, 5, 10, 50, 100)
"""Table 8's columns."""

_BLOCK = 512  # queries at a time: 40 MB of similarities for the 19,057 images of the full gallery


def similarities(queries: Tensor, gallery: Tensor, sources: Tensor) -> Tensor:
    """Cosines [B, N] of queries with a gallery, each query's own source image out of the race with -inf.

    >>> similarities(torch.eye(2), torch.eye(2), torch.tensor([1, 0]))
    tensor([[1., -inf],
            [-inf, 1.]])
    """
    cosines = F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T
    return cosines.scatter(1, sources[:, None], -torch.inf)


def ranks(queries: Tensor, gallery: Tensor, *, wanted: Tensor, scenes: Tensor, sources: Tensor) -> Tensor:
    """The rank at which each query's first right image is found, from 1.

    Right is every image, other than the source, that shows the wanted scene. Ties are counted against the query: its
    rank is one more than the number of wrong images at least as similar as the most similar right one. Features that
    have all become the same, or NaN, thus rank last, not first. Cosines are computed in double precision, and two are
    tied when they differ by no more than the features' own rounding can make them differ.

    Parameters
    ----------
    queries, gallery:
        Features, [Q, width] and [N, width], of any length: similarity is the cosine.
    wanted:
        The scene that a query asks for, int64 [Q].
    scenes:
        The scene that an image shows, int64 [N].
    sources:
        The image that a query starts from, a row of the gallery, int64 [Q].

    Returns
    -------
    Tensor
        int64 [Q].

    Raises
    ------
    ValueError
        A query has no right image.

    Examples
    --------
    >>> gallery = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    >>> ranks(gallery[:1], gallery, wanted=torch.tensor([7]), scenes=torch.tensor([5, 6, 7]), sources=torch.tensor([0]))
    tensor([2])
    """
    found = []
    # a unit vector rounded to its type moves a cosine by at most its epsilon; one such for each side of a comparison,
    # and as much again for the network, which computes equal features in batches of different lengths
    tied = 4 * torch.finfo(gallery.dtype).eps + 4 * gallery.shape[1] * torch.finfo(torch.float64).eps
    gallery = gallery.double()
    for rows in torch.arange(len(queries), device=queries.device).split(_BLOCK):
        cosines = similarities(queries[rows].double(), gallery, sources[rows])
        admitted = torch.ones_like(cosines, dtype=torch.bool).scatter(1, sources[rows, None], False)
        right = (wanted[rows, None] == scenes) & admitted
        if not bool(right.any(dim=1).all()):
            query = int(rows[int(right.any(dim=1).int().argmin())])
            raise ValueError(f"wanted[{query}]={int(wanted[query])} is a scene that no image but the source shows")
        best = cosines.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
        # "not less", where "at least" would leave NaN out
        found.append(1 + (~(cosines < best - tied) & ~right & admitted).sum(dim=1))
    return torch.cat(found)


def recall(found: Tensor, at: Sequence[int] = AT) -> dict[int, float]:
    """R@N: which share of the queries has a right image among the N most similar, in percent.

    >>> recall(torch.tensor([1, 3, 7, 200]), at=(1, 5))
    {1: 25.0, 5: 50.0}
    """
    return {count: 100 * (found <= count).double().mean().item() for count in at}
