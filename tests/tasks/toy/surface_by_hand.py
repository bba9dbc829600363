"""The two-task surface as the papers print it, in scalar arithmetic with derivatives taken by hand; and plain Adam."""

from __future__ import annotations

import math
from collections.abc import Callable

Vector = tuple[float, float]


def losses(x: float, y: float) -> Vector:
    """f1 (scaled by 0.1) and f2, term by term as printed (CAGrad, App. B)."""
    floor = 0.000005
    l1 = math.log(max(abs(0.5 * (-x - 7) - math.tanh(-y)), floor)) + 6
    l2 = math.log(max(abs(0.5 * (-x + 3) + math.tanh(-y) + 2), floor)) + 6
    c1, c2 = max(math.tanh(y * 0.5), 0), max(math.tanh(-y * 0.5), 0)
    q1 = ((-x + 7) ** 2 + 0.1 * (-y - 8) ** 2) / 10 - 20
    q2 = ((-x - 7) ** 2 + 0.1 * (-y - 8) ** 2) / 10 - 20
    return 0.1 * (l1 * c1 + q1 * c2), l2 * c1 + q2 * c2


def gradients(x: float, y: float) -> tuple[Vector, Vector]:
    """Of `losses`, away from y = 0 and from the valleys' floors."""
    tanh, half = math.tanh(y), math.tanh(y / 2)
    bent = 1 - tanh**2
    upper, lower = max(half, 0), max(-half, 0)
    slope = (1 - half**2) / 2
    d_upper, d_lower = (slope, 0.0) if y > 0 else (0.0, -slope)
    rows = []
    for scale, inside, sign, centre in (
        (0.1, 0.5 * (-x - 7) + tanh, 1, 7),
        (1.0, 0.5 * (-x + 3) - tanh + 2, -1, -7),
    ):
        valley = math.log(abs(inside)) + 6
        bowl = ((x - centre) ** 2 + 0.1 * (y + 8) ** 2) / 10 - 20
        along = -0.5 / inside * upper + (x - centre) / 5 * lower
        up = sign * bent / inside * upper + valley * d_upper + (y + 8) / 50 * lower + bowl * d_lower
        rows.append((scale * along, scale * up))
    return rows[0], rows[1]


def adam(start: Vector, steps: int, weigh: Callable[[Vector, Vector], Vector], lr: float = 1e-3) -> Vector:
    """Where Kingma and Ba's Algorithm 1 ends when it is fed w1 g1 + w2 g2."""
    point, first, second = list(start), [0.0, 0.0], [0.0, 0.0]
    for step in range(1, steps + 1):
        a, b = gradients(*point)
        w1, w2 = weigh(a, b)
        for i in range(2):
            g = w1 * a[i] + w2 * b[i]
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g * g
            corrected = math.sqrt(second[i] / (1 - 0.999**step)) + 1e-8
            point[i] -= lr * first[i] / (1 - 0.9**step) / corrected
    return point[0], point[1]


def equal(a: Vector, b: Vector) -> Vector:
    """Weights of the sum."""
    return 1.0, 1.0


def min_norm(a: Vector, b: Vector) -> Vector:
    """Weights of the shortest convex combination (MGDA for two tasks)."""
    aa, ab, bb = a[0] ** 2 + a[1] ** 2, a[0] * b[0] + a[1] * b[1], b[0] ** 2 + b[1] ** 2
    if ab >= min(aa, bb):
        return (1.0, 0.0) if aa <= bb else (0.0, 1.0)
    share = (bb - ab) / (aa + bb - 2 * ab)
    return share, 1 - share
