"""Two tasks: every solver in closed form, in torch, where the Gramian lives.

All functions take G [2, 2] float64 (finite, symmetric positive semi-definite, any scale) and never wait for the
device: no value is read back and no Python branch depends on one. They agree with the host solvers of this package,
degenerate cases included.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mtlgrad.solvers.scaling import RANK_TOLERANCE, RESOLUTION


def harmonize_pair(gram: Tensor) -> Tensor:
    """A [2, 2]: row i holds the coefficients of g_i projected onto {x : J x >= 0}.

    Under conflict (c = g_1 . g_2 < 0) the rows are (1, -c/|g_2|^2) and (-c/|g_1|^2, 1), Eq. 29 of Huang, Song and
    Zhang 2024; else A is the identity. Exactly opposite gradients project to 0: A = 0.

    Examples
    --------
    >>> harmonize_pair(torch.tensor([[1.0, -0.5], [-0.5, 2.0]], dtype=torch.float64)).tolist()
    [[1.0, 0.25], [0.5, 1.0]]
    """
    _, cosine, _, _ = _cosine(gram)
    squares = gram.diagonal()
    conflict = (-gram).clamp(min=0.0)  # zero on the diagonal, so the identity is what is added there
    parts = conflict / torch.where(squares > 0.0, squares, 1.0) + torch.eye(2, dtype=gram.dtype, device=gram.device)
    lost = (1.0 - cosine**2 < (RESOLUTION * (1.0 + cosine.abs())) ** 2) & (cosine < 0.0)
    return torch.where(lost, 0.0, parts)


def dual_projection_pair(gram: Tensor, point: Tensor) -> Tensor:
    """w [2]: the point of {x : J x >= 0} nearest to u J, for u = `point` [2]. See `project_onto_dual_cone`.

    Examples
    --------
    >>> gram = torch.tensor([[1.0, -0.5], [-0.5, 1.0]], dtype=torch.float64)
    >>> dual_projection_pair(gram, torch.tensor([1.0, 0.0], dtype=torch.float64)).tolist()
    [1.0, 0.5]
    """
    norms, cosine, _, safe = _cosine(gram)
    start = point * norms
    slopes = start + cosine * start.flip(0)
    push = (-slopes).clamp(min=0.0)
    # Lifting task k alone to zero suffices if that leaves the other task unharmed; else both bind and x = 0.
    suffices = (push > 0.0) & (slopes.flip(0) + cosine * push >= 0.0)
    first, second = suffices.unbind()
    push = torch.where(torch.stack((first, second & ~first)), push, 0.0)
    after = slopes + push + cosine * push.flip(0)
    lost = (start * after).sum() < (RESOLUTION * (start.abs() + push).sum()) ** 2
    harmless = (slopes >= 0.0).all() | first | second
    return torch.where(harmless & ~lost, point + push / safe, 0.0)


def min_norm_pair(gram: Tensor) -> Tensor:
    """w [2] in the simplex: the shortest vector between g_1 and g_2 (Sener and Koltun 2018, Algorithm 1).

    Equal gradients share the weight.

    Examples
    --------
    >>> min_norm_pair(torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)).tolist()
    [0.75, 0.25]
    """
    excess = (gram.diagonal().flip(0) - gram[0, 1]).clamp(min=0.0)
    total = excess.sum()
    return torch.where(total > 0.0, excess / total, 0.5)


def cagrad_pair(gram: Tensor, c: float) -> Tensor:
    """w [2]: the weights of CAGrad's direction. See `cagrad_weights`.

    On the line through g_1 and g_2, at signed distance s from its point nearest to 0 (h away), the objective is
    s beta + phi sqrt(h^2 + s^2) up to a constant, with beta the slope of g_w . g_0 and phi = c |g_0|: its minimum
    is s = -beta h / sqrt(phi^2 - beta^2), or the end of the segment where |beta| >= phi. Inside of it d serves both
    tasks alike and so is along that nearest point, of length h + sqrt(phi^2 - beta^2).

    Examples
    --------
    >>> cagrad_pair(torch.tensor([[1.0, 0.0], [0.0, 9.0]], dtype=torch.float64), c=0.5)
    tensor([1.2906, 0.5000], dtype=torch.float64)
    """
    norms, cosine, _, _ = _cosine(gram)
    (first, inner), (_, second) = gram[0].unbind(), gram[1].unbind()
    base = ((first - inner) + (second - inner)).clamp(min=0.0)  # |g_1 - g_2|^2
    base = torch.where(base > 0.0, base, 1.0)
    height = first * second * (1.0 - cosine) * (1.0 + cosine) / base  # h^2
    mean_length = (first + second + 2.0 * inner).clamp(min=0.0).sqrt() / 2.0
    radius = torch.where(mean_length < RESOLUTION * norms.sum() / 2.0, 0.0, c * mean_length)
    tilt = (first - second) / (2.0 * base)  # beta / |g_1 - g_2|
    room = radius**2 - tilt**2 * base
    ratio = (height / torch.where(room > 0.0, room, 1.0)).sqrt()
    shift = torch.where(room > 0.0, -tilt * ratio, -tilt.sign())
    middle = (second - inner) / base
    share = (middle + shift).clamp(0.0, 1.0)
    inside = (share > 0.0) & (share < 1.0)
    worst_case = torch.stack((share, 1.0 - share))
    square = (worst_case * (gram @ worst_case)).sum()
    # Between opposite gradients rounding leaves the length unknown sooner than that of a single sum.
    stationary = inside & (1.0 + cosine < 2.0 * RANK_TOLERANCE)
    stationary = stationary | (square <= (RESOLUTION * (worst_case * norms).sum()) ** 2)
    half = torch.full_like(worst_case, 0.5)
    # Under conflict the weights must be exact. Between nearly equal gradients `base` is noise, and any will do.
    direction = torch.where(
        inside & (cosine < 0.0),
        (1.0 + 1.0 / ratio) * torch.stack((middle, (first - inner) / base)),
        half + radius * worst_case / torch.where(stationary, 1.0, square).sqrt(),
    )
    if c >= 1.0:  # a d that cannot be told from 0 may conflict
        size = (direction * (gram @ direction)).sum().clamp(min=0.0)
        stationary = stationary | (size < (RESOLUTION * (direction.abs() * norms).sum()) ** 2)
    moved = dual_projection_pair(gram, half) - half
    if c < 1.0:  # from c = 1 on the projection is inside the ball, for a cone holds 0
        size = (moved * (gram @ moved)).sum().clamp(min=0.0).sqrt()
        moved = moved * torch.where(size > radius, radius / torch.where(size > 0.0, size, 1.0), 1.0)
    undefined = half if c < 1.0 else torch.zeros_like(half)
    return torch.where(radius > 0.0, torch.where(stationary, half + moved, direction), undefined)


def bargaining_pair(gram: Tensor) -> Tensor:
    """w [2]: the Nash bargaining solution, w_k (G w)_k = 1 (Navon et al. 2022, Claim 3.1). See `bargaining_weights`.

    With cosine r between the gradients, w_k = 1 / (|g_k| sqrt(1 + r)). Opposite gradients have no solution: w = 0.

    Examples
    --------
    >>> bargaining_pair(torch.tensor([[1.0, 0.0], [0.0, 4.0]], dtype=torch.float64)).tolist()
    [1.0, 0.5]
    """
    _, cosine, live, safe = _cosine(gram)
    opposite = _opposite(cosine)
    return torch.where(live & ~opposite, 1.0 / (safe * torch.where(opposite, 1.0, 1.0 + cosine).sqrt()), 0.0)


def aligned_pair(gram: Tensor, preference: Tensor, scale: Literal["min", "median", "rmse"] = "min") -> Tensor:
    """w [2]: the weights of Aligned-MTL for the preference w0 [2]. See `aligned_weights`.

    G^(1/2) = (G + delta I) / sqrt(trace + 2 delta) with delta = sqrt(det G) inverts without eigenvectors.

    Examples
    --------
    >>> gram = torch.tensor([[1.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    >>> aligned_pair(gram, torch.tensor([1.0, 1.0], dtype=torch.float64)).tolist()
    [1.0, 0.5]
    """
    _, cosine, _, _ = _cosine(gram)
    first, second = gram.diagonal().unbind()
    inner = gram[0, 1]
    trace = first + second
    trace = torch.where(trace > 0.0, trace, 1.0)
    delta = (first * second * (1.0 - cosine) * (1.0 + cosine)).sqrt()
    single = (1.0 - cosine.abs() < 2.0 * RANK_TOLERANCE) | (gram.diagonal() <= 0.0).any()
    adjugate = torch.stack((second + delta, -inner, -inner, first + delta)).view(2, 2) / (trace + 2.0 * delta).sqrt()
    if scale == "rmse":
        stretch = (trace / 2.0).sqrt() / torch.where(single, 1.0, delta)
    else:  # of two eigenvalues the lower median is the smaller; sqrt(smaller) / delta = 1 / sqrt(larger)
        stretch = ((trace + torch.hypot(first - second, 2.0 * inner)) / 2.0).rsqrt()
    return torch.where(single, gram / trace, stretch * adjugate) @ preference


def equal_projection_pair(gram: Tensor) -> Tensor:
    """w [2], summing to 1, with equal projections of d on both unit gradients. See `equal_projection_weights`.

    Examples
    --------
    >>> equal_projection_pair(torch.tensor([[1.0, 0.5], [0.5, 9.0]], dtype=torch.float64)).tolist()
    [0.75, 0.25]
    """
    _, _, live, safe = _cosine(gram)
    inverse = live / safe
    return inverse / torch.where(live.any(), inverse.sum(), 1.0)


def equal_cosine_pair(gram: Tensor) -> Tensor:
    """w [2] of ConFIG's direction, along the bisector of the two gradients. See `equal_cosine_weights`.

    Examples
    --------
    >>> equal_cosine_pair(torch.tensor([[1.0, 0.5], [0.5, 9.0]], dtype=torch.float64)).tolist()
    [2.0, 0.6666666666666666]
    """
    norms, cosine, live, safe = _cosine(gram)
    return torch.where(live & ~_opposite(cosine), norms.sum() / live.sum().clamp(min=1) / safe, 0.0)


def _cosine(gram: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """|g_k| [2], the cosine of the pair (0 beside a zero gradient), the mask of the non-zero ones, safe divisors."""
    norms = gram.diagonal().clamp(min=0.0).sqrt()
    live = norms > 0.0
    safe = torch.where(live, norms, 1.0)
    cosine = (gram[0, 1] / safe[0] / safe[1]).clamp(-1.0, 1.0)
    return norms, torch.where(live.all(), cosine, 0.0), live, safe


def _opposite(cosine: Tensor) -> Tensor:
    """Whether u_1 + u_2 is too short to be told from 0: |u_1 + u_2|^2 = 2 (1 + cosine)."""
    return (1.0 + cosine) / 2.0 < RESOLUTION**2
