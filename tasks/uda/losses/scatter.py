"""How far the classes of labelled features lie apart: the criterion of linear discriminant analysis."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
from torch import Tensor


def separability(features: Tensor, labels: Tensor, *, classes: int, ridge: float = 1e-6) -> float:
    """max J(W): the sum of the K - 1 largest eigenvalues of (S_w + ridge I)^-1 S_b.

    S_w and S_b are the within-class and between-class scatter matrices, sums over rows; the maximum over W [D, K - 1]
    of tr((W' S_w W)^-1 (W' S_b W)), which dynamic weighted learning takes for discriminability (Xiao and Zhang, CVPR
    2021, section 3.3). Classes that do not occur are left out. It has no gradient and is computed in float64.

    Parameters
    ----------
    features:
        [N, D].
    labels:
        int64 [N], from 0 to `classes` - 1; pseudo-labels on a target domain.
    classes:
        K.
    ridge:
        Added to the diagonal of S_w, times the mean of that diagonal, so that it means the same at any scale.

    Raises
    ------
    ValueError
        Fewer than two classes occur: there is nothing to separate.

    Examples
    --------
    >>> rows = torch.tensor([[0.0], [2.0], [10.0], [12.0]])
    >>> round(separability(rows, torch.tensor([0, 0, 1, 1]), classes=2), 3)  # S_b 100, S_w 4
    25.0
    """
    rows = features.detach().to("cpu", torch.float64).numpy()
    named = labels.detach().cpu().numpy()
    present = np.unique(named)
    if len(present) < 2:
        raise ValueError(f"labels holds {len(present)} class(es); allowed: at least 2, or nothing is to be separated")
    centre = rows.mean(axis=0)
    within = np.zeros((rows.shape[1], rows.shape[1]))
    between = []
    for one in present:
        members = rows[named == one]
        mean = members.mean(axis=0)
        within += (members - mean).T @ (members - mean)
        between.append(np.sqrt(len(members)) * (mean - centre))
    scale = float(np.trace(within)) / len(within) or 1.0
    within[np.diag_indices_from(within)] += ridge * scale
    # S_b = B B' for B [D, K]: the eigenvalues other than 0 are those of B' S_w^-1 B, which is K by K.
    columns = np.stack(between, axis=1)
    whitened = scipy.linalg.solve_triangular(np.linalg.cholesky(within), columns, lower=True)
    eigenvalues = np.linalg.eigvalsh(whitened.T @ whitened)
    return float(eigenvalues[::-1][: classes - 1].clip(min=0).sum())
