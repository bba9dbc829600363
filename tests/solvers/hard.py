"""Jacobians and measures shared by the solver tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def stress(count: int, seed: int, m_max: int = 32) -> Iterator[Array]:
    """J with row norms spread by lognormal(3), total scale 1e-18 to 1e18, any rank, one in two with a special row."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        m = int(rng.integers(2, m_max + 1))
        n = int(rng.integers(1, 3 * m + 2))
        jacobian = rng.standard_normal((m, n)) * np.exp(3 * rng.standard_normal((m, 1)))
        match i % 10:
            case 1:
                jacobian[rng.integers(m)] = 0.0
            case 3:
                jacobian[0] = -2.0 * jacobian[1]
            case 5:
                jacobian[0] = 2.0 * jacobian[1]
            case 7:
                jacobian[0] = -jacobian[1] + 1e-5 * np.linalg.norm(jacobian[1]) * rng.standard_normal(n)
            case 9:
                jacobian = np.outer(rng.standard_normal(m), rng.standard_normal(n))
        yield jacobian * 10.0 ** rng.integers(-18, 19)


NEARLY = ("on a line", "in the hull", "one pair", "no mean", "two directions", "a short mean on a line")


def nearly_stationary(family: str, m: int, n: int, off: float, rng: np.random.Generator) -> Array:
    """J [m, n] within about `off` of a Pareto-stationary point, or of a mean gradient that is 0."""
    noise, line = rng.standard_normal((m, n)) / np.sqrt(n), rng.standard_normal(n) / np.sqrt(n)
    jacobian, away = noise.copy(), off * rng.standard_normal((m, n)) / np.sqrt(n)
    match family:
        case "on a line":
            jacobian = np.outer(rng.choice([1.0, -2.0, 3.0, -1.0, 0.5], m), line)
        case "in the hull":
            weights = rng.dirichlet(np.ones(m))
            jacobian[-1] = -(weights[:-1] @ jacobian[:-1]) / weights[-1]
        case "one pair":
            jacobian[0] = -rng.uniform(0.5, 2.0) * jacobian[1]
        case "no mean":
            jacobian = noise - noise.mean(0)
        case "two directions":
            jacobian[m // 2 :] = -rng.uniform(0.5, 2.0, (m - m // 2, 1)) * noise[0]
        case "a short mean on a line":
            jacobian, away = np.outer(noise[:, 0] - noise[:, 0].mean(), line), off * line
    return np.asarray(jacobian + away)


def lengths(jacobian: Array) -> Array:
    """|g_i| [m], without underflow."""
    peak = np.abs(jacobian).max() or 1.0
    return np.asarray(np.linalg.norm(jacobian / peak, axis=1) * peak)


def violation(jacobian: Array, weights: Array) -> float:
    """How much d = w J conflicts: max_k -cos(g_k, d), 0 if it does not (or if d = 0)."""
    direction = weights @ jacobian
    size = lengths(direction[None])[0]
    if size == 0.0:
        return 0.0
    norms = lengths(jacobian)
    cosines = (jacobian[norms > 0] / norms[norms > 0, None]) @ (direction / size)
    return float(max(0.0, -cosines.min(initial=0.0)))


def apart(got: Array, wanted: Array) -> float:
    """|got - wanted| / |wanted|."""
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
