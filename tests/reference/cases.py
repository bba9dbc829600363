"""Golden values: for every method a small J, the direction it must give, and where each number comes from.

All directions were worked out by hand from the equation named, on one of three Jacobians whose Gramians are small
integers or simple fractions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

Rows = list[list[float]]

CONFLICT: Rows = [[1.0, 0.0], [-1.0, 1.0]]
"""G = [[1, -1], [-1, 2]]: |g1|^2 = 1, |g2|^2 = 2, c = -1, theta = 135 degrees."""
OBTUSE: Rows = [[1.0, 0.0], [-0.5, math.sqrt(3) / 2]]
"""Unit vectors at 120 degrees: delta = 30 degrees."""
AGREE: Rows = [[2.0, 0.0], [1.0, 1.0]]
"""G = [[4, 2], [2, 2]]: no conflict."""


@dataclass(frozen=True)
class Case:
    """`method(jacobian)` is `direction`."""

    name: str
    """Catalog name."""
    jacobian: Rows
    direction: list[float]
    provenance: str
    arguments: dict[str, Any] = field(default_factory=dict)
    losses: list[float] | None = None
    features: Rows | None = None
    seed: int = 0


CASES = [
    Case("sum", CONFLICT, [0.0, 1.0], "g1 + g2"),
    Case("mean", CONFLICT, [0.0, 0.5], "(g1 + g2) / 2"),
    Case("fixed", CONFLICT, [0.5, 0.5], "g1 + g2 / 2", {"weights": (1.0, 0.5)}),
    Case("gh", CONFLICT, [0.5, 1.5], "Theorem 1, Eq. 29: w = (1 + 1/1, 1 + 1/2), so 2 g1 + 1.5 g2"),
    Case("gh", AGREE, [3.0, 1.0], "Theorem 1, Case I: the sum"),
    Case(
        "ghpp",
        OBTUSE,
        [
            1 + 2 * math.sin(math.pi / 24) - 0.5 * (1 - 2 * math.sin(math.pi / 24)),
            (1 - 2 * math.sin(math.pi / 24)) * math.sqrt(3) / 2,
        ],
        "Eq. 43 with lam = 1/2: beta / 2 = beta' / 2 = 7.5 degrees, tau = 1.2611, 0.7389",
    ),
    Case(
        "ghpp",
        OBTUSE,
        [math.cos(math.pi / 12) - math.sin(math.pi / 12), math.sin(math.pi / 12) + math.cos(math.pi / 12)],
        "the rotation of Sec. 3.5: both turn 15 degrees, g~1 = (cos 15, sin 15), g~2 = (-sin 15, cos 15)",
        {"form": "rotation"},
    ),
    Case("negated", CONFLICT, [-2.0, 1.0], "Sec. 5.7: -g1 + g2"),
    Case("negated", CONFLICT, [2.0, -1.0], "Sec. 5.7: g1 - g2", {"task": 1}),
    Case("pcgrad", CONFLICT, [0.5, 1.5], "Algorithm 1: g1 + g2 / 2 and g2 + g1"),
    Case(
        "pcgrad",
        [[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]],
        [0.0, -0.5],
        "Algorithm 1, by index: g1 -> (1/2, 1/2) -> (1/2, 0); g2 -> (0, 1) -> (0, 0); g3 -> itself -> (-1/2, -1/2)",
        {"order": "fixed"},
    ),
    Case("mgda", CONFLICT, [0.2, 0.4], "Algorithm 1: w1 = (2 + 1) / (1 + 2 + 2) = 3/5"),
    Case("mgda", AGREE, [1.0, 1.0], "Algorithm 1: (2 - 2) / 2 = 0, so the shorter gradient"),
    Case("cagrad", CONFLICT, [0.0, 0.5], "Eq. 3 with c = 0: the mean", {"c": 0.0}),
    Case("upgrad", CONFLICT, [0.25, 0.75], "Eq. 3: the mean of the projections (1/2, 1/2) and (0, 1)"),
    Case("dualproj", [[1.0, 0.0], [-3.0, 1.0]], [0.0, 0.5], "GEM Eq. 8: (-1, 1/2), brought to x1 >= 0"),
    Case("agem", CONFLICT, [1.0, 1.0], "Eq. 11: g2 loses its part along g1, (0, 1), and g1 is added"),
    Case("agem", CONFLICT, [-0.5, 1.5], "Eq. 11: g1 becomes (1/2, 1/2), and g2 is added", {"main": 1}),
    Case("gradvac", CONFLICT, [0.5, 1.5], "Algorithm 1 with all targets 0, as at first: PCGrad"),
    Case(
        "sdmgrad",
        CONFLICT,
        [0.2, 0.4],
        "Algorithm 1 with lambda = 0, to convergence: MGDA",
        {"lam": 0.0, "lr": 0.5, "steps": 200},
    ),
    Case(
        "modo",
        [[1.0, 0.0], [0.0, 2.0]],
        [0.575, 0.85],
        "Eq. 2.9: lambda = 1/2 - (0.05, 0.2), back on the simplex (0.575, 0.425)",
        {"rho": 0.0},
    ),
    Case(
        "nashmtl",
        CONFLICT,
        [
            (1 - math.sqrt(0.5)) / math.sqrt(1 - math.sqrt(0.5)),
            math.sqrt(0.5) / math.sqrt(1 - math.sqrt(0.5)),
        ],
        "G w = 1/w, so w_k = 1 / (|g_k| sqrt(1 + cos)) with cos = -1/sqrt(2)",
    ),
    Case(
        "nashmtl",
        [[1.0, 0.0], [0.0, 2.0]],
        [math.sqrt(0.5)] * 2,
        "w = (1, 1/2), d = (1, 1), cut to length 1",
        {"max_norm": 1.0},
    ),
    Case("fairgrad", [[1.0, 0.0], [0.0, 8.0]], [1.0, 0.5], "G w = w^(-1/2): 64 w2 = w2^(-1/2), so w2 = 1/16"),
    Case("imtlg", [[1.0, 0.0], [0.0, 3.0]], [0.75, 0.75], "Eq. 4: w1 = 3 w2"),
    Case("alignedmtl", [[1.0, 0.0], [0.0, 2.0]], [1.0, 1.0], "Algorithm 1: both singular values become 1"),
    Case(
        "alignedmtl",
        [[1.0, 0.0], [0.0, 2.0]],
        [math.sqrt(2.5), 3 * math.sqrt(2.5)],
        "both become sqrt((1 + 4) / 2)",
        {"preference": (1.0, 3.0), "scale": "rmse"},
    ),
    Case("config", [[1.0, 0.0], [0.0, 3.0]], [2.0, 2.0], "Eq. 2-4: along (1, 1), of length (1 + 3) / sqrt(2)"),
    Case("gradnorm", CONFLICT, [0.0, 1.0], "Algorithm 1: the first step has weights 1", losses=[1.0, 2.0]),
    Case(
        "krum",
        [[1.0], [1.1], [1.2], [1.4], [-9.0]],
        [1.1],
        "Sec. 4, 2 neighbours: scores .05, .02, .05, .13",
        {"byzantine": 1},
    ),
    Case(
        "krum", [[0.0], [3.0], [5.0]], [4.0], "Multi-Krum, 1 neighbour: scores 9, 4, 4", {"byzantine": 0, "selected": 2}
    ),
    Case(
        "cagrad",
        [[2.0, 0.0], [0.0, 2.0]],
        [1.2, 1.2],
        "both rows share g_w = g_0, so d = (1 + c) g_0, over 1 + c^2",
        {"c": 0.5, "rescale": "c_squared"},
    ),
    Case("cagrad", [[2.0, 0.0], [0.0, 2.0]], [1.0, 1.0], "as above, over 1 + c", {"c": 0.5, "rescale": "c"}),
    Case("graddrop", [[1.0, -2.0], [3.0, -1.0]], [4.0, -3.0], "Algorithm 1: coordinates of one sign have P = 1 or 0"),
    Case("graddrop", CONFLICT, [0.0, 1.0], "Algorithm 1: everything leaks", {"leak": 1.0}),
    Case(
        "graddrop_activations",
        [[1.0, -2.0, 1.0, 5.0], [2.0, 3.0, -1.0, 1.0]],
        [3.0, 1.0, 0.0, 6.0],
        "Algorithm 1: sign(z) g summed over the batch is (2, -3) and (1, -4): P = 1 and 0, so nothing is masked",
        features=[[1.0, -1.0], [2.0, -1.0]],
    ),
    Case(
        "moco",
        CONFLICT,
        [0.05, 0.475],
        "Algorithm 1, Y = J: lambda = (1/2, 1/2) - 0.1 (0, 1/2), on the simplex (.525, .475)",
        {"beta": 1.0, "rho": 0.0},
    ),
    Case("moco", CONFLICT, [0.0, 0.05], "Algorithm 1, lambda held: a tenth of the mean", {"gamma": 0.0}),
    Case("excessmtl", CONFLICT, [0.0, 0.5], "Eq. 9 starts at equal weights"),
    Case(
        "dbmtl",
        [[2.0, 0.0], [0.0, 1.0]],
        [4.0, 4.0],
        "Algorithm 1: gradients of the logarithms 4 and 1, both stretched to 4",
        {"beta": 0.0},
        losses=[0.5, 1.0],
    ),
    Case(
        "mconfig", [[1e6, 0.0], [0.0, 3e6]], [1.0, 1.0], "Algorithm 1: the first step of Adam is the sign of ConFIG's d"
    ),
    Case("andmask", [[1.0, 1.0, -2.0], [-1.0, 3.0, -4.0]], [0.0, 2.0, -3.0], "Sec. 2: the mean where signs agree"),
    Case("trimmedmean", [[1.0, 9.0], [3.0, 5.0], [-1.0, 4.0]], [1.0, 5.0], "Definition 2, m = 3, k = 1: the median"),
    Case(
        "every",
        CONFLICT,
        [0.2, 0.4],
        "the first step is the inner's: MGDA's (3/5, 2/5)",
        {"k": 5, "inner": {"method": "mgda"}},
    ),
    Case(
        "ema", CONFLICT, [0.2, 0.4], "the first step is the inner's: MGDA's (3/5, 2/5)", {"inner": {"method": "mgda"}}
    ),
    Case(
        "normalised",
        [[4.0, 0.0], [0.0, 1.0]],
        [0.5, 0.5],
        "MGDA on the unit vectors: their midpoint",
        {"inner": {"method": "mgda"}},
    ),
    Case(
        "normalised",
        [[4.0, 0.0], [0.0, 1.0]],
        [0.4, 0.8],
        "MGDA on (2, 0) and (0, 1): w1 = 1 / (4 + 1)",
        {"inner": {"method": "mgda"}, "by": "loss"},
        losses=[2.0, 1.0],
    ),
    Case("uw", CONFLICT, [0.0, 0.5], "Eq. 7: s = 0, so w = 1/2", losses=[1.0, 2.0]),
    Case("dwa", CONFLICT, [0.0, 1.0], "Sec. 3.3: w = 1 until two epochs have passed", {"window": 1}, losses=[1.0, 2.0]),
    Case("rlw", [[1.0, 2.0], [1.0, 2.0]], [1.0, 2.0], "the weights sum to 1"),
    Case("gls", CONFLICT, [0.75, 0.25], "S = 2, so w = (2 / (2 * 1), 2 / (2 * 4))", losses=[1.0, 4.0]),
    Case("si", CONFLICT, [1.75, 0.25], "w = 1 / L = (2, 1/4)", losses=[0.5, 4.0]),
    Case("imtl_l", CONFLICT, [0.0, 1.0], "s = 0, so w = 1", losses=[1.0, 2.0]),
    Case(
        "famo",
        CONFLICT,
        [0.5, 0.25],
        "z = 1/2, so w is as 1 / L: (3/4, 1/4); the floor cancels what the code adds to L - b",
        {"floor": 1e-8},
        losses=[1.0, 3.0],
    ),
    Case(
        "stch",
        CONFLICT,
        [-0.5, 0.75],
        "w = softmax(L) = (1, 3) / 4",
        {"preference": (1.0, 1.0)},
        losses=[0.0, math.log(3)],
    ),
    Case("dwl", CONFLICT, [0.5, 0.25], "T = .6 / (.6 + 1 - .8) = 3/4", {"alignment": 0.6, "discriminability": 0.8}),
    Case(
        "tchebycheff",
        CONFLICT,
        [-3.0, 3.0],
        "lambda L = (2, 3): the second leads",
        {"preference": (1.0, 3.0)},
        losses=[2.0, 1.0],
    ),
    Case(
        "stch_set",
        [[1.0, 0.0], [0.0, 1.0]],
        [0.75, 0.25],
        "one task, two solutions: softmax(-L) of (0, log 3) is (3, 1) / 4",
        {"preference": (1.0,), "solutions": 2},
        losses=[0.0, math.log(3)],
    ),
    Case(
        "pbi",
        CONFLICT,
        [-math.sqrt(2), math.sqrt(2)],
        "(1, 1) / sqrt 2 + (-1, 1) / sqrt 2 = (0, sqrt 2)",
        {"theta": 1.0},
        losses=[1.0, 3.0],
    ),
    Case(
        "cosmos",
        [[1.0, 0.0], [0.0, 1.0]],
        [0.36, 0.48],
        "|L| = 5, cosine 3/5: (1, 0) - 5 ((1, 0) / 5 - (3/5) (3, 4) / 25)",
        {"preference": (1.0, 0.0), "lam": 5.0},
        losses=[3.0, 4.0],
    ),
    Case("softadapt", CONFLICT, [0.0, 0.5], "the first step has no rates: 1/m", losses=[1.0, 2.0]),
    Case("relobralo", CONFLICT, [0.0, 1.0], "the first step has weights 1", losses=[1.0, 2.0]),
    Case(
        "uwso",
        [[1.0, 0.0], [0.0, 1.0]],
        [0.25, 0.75],
        "1 / L = (0, log 3) + const",
        losses=[1.0, 1 / (1 + math.log(3))],
    ),
    Case(
        "igb",
        CONFLICT,
        [1.75, 0.25],
        "at first the sum of logarithms",
        {"window": 1},
        losses=[0.5, 4.0],
    ),
    Case(
        "pcd",
        CONFLICT,
        [math.sqrt(0.5)] * 2,
        "tau = 0: u1 = (1, 0) loses its part along u2 = (-1, 1) / sqrt 2, (1/2, 1/2), and is stretched to length 1",
        {"tau": 0.0},
    ),
    Case(
        "pcd",
        [[2.0, 0.0], [0.0, 5.0]],
        [2 / math.sqrt(1.25), 1 / math.sqrt(1.25)],
        "u1 . u2 = 0: (1, tau), stretched to length 2",
        {"tau": 0.5, "eps": 0.0},
    ),
    Case(
        "capped_mgda",
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 10.0]],
        [1 / 2.4, 1 / 2.4, 10 * (1 - 2 / 2.4)],
        "MGDA wants .4975 of the first two, the cap is 1 / (.8 * 3)",
        {"alpha": 0.8},
    ),
    Case(
        "imgrad",
        [[2.0, 0.0], [0.0, 2.0]],
        [1.2, 1.2],
        "g_w = g_0 by symmetry: (1 + c) g_0 over 1 + c^2, c = 1/2",
        {"rescale": "c_squared"},
    ),
    Case("dibs_mtl", [[3.0, 0.0], [0.0, 0.5]], [1.0, 1.0], "one inner step: the sum of the unit gradients"),
    Case(
        "dibs_mtl",
        [[3.0, 0.0], [0.0, 0.5]],
        [0.5 + math.sqrt(0.5) / 2] * 2,
        "T = 2: x = (1/2, 1/2) after the first, sqrt(1/2) from both; w |g| = (1 + sqrt(1/2)) / 2",
        {"steps": 2},
    ),
    Case(
        "cr_mogm",
        [[1.0, 0.0], [0.0, 3.0]],
        [0.7, 0.9],
        "MGDA's (.9, .1) and (1/2, 1/2), averaged",
        {"inner": {"method": "mgda"}, "alpha": 0.5},
    ),
    Case("upgrad", CONFLICT, [0.5, 0.5], "Eq. 3 for the first task alone: its projection", {"preference": (1.0, 0.0)}),
    Case(
        "dualproj",
        [[1.0, 0.0], [-3.0, 1.0]],
        [0.0, 1.0],
        "GEM Eq. 8: g2 = (-3, 1), brought to x1 >= 0",
        {"preference": (0.0, 1.0)},
    ),
    Case(
        "config",
        [[1.0, 0.0], [0.0, 3.0]],
        [1.8, 2.4],
        "along (3, 4) / 5, of length (3 + 12) / 5",
        {"preference": (3.0, 4.0)},
    ),
    Case("lr_annealing", [[4.0, 0.0], [0.0, 1.0]], [4.0, 8.0], "max |g1| / mean |g2| = 4 / (1/2)", {"alpha": 1.0}),
]
