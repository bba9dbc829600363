from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mtlgrad import solvers
from mtlgrad.solvers import pair
from tests.solvers.hard import Array, lengths

POINT = (0.7, -0.3)
PREFERENCE = (0.4, 0.6)


def _on_device(values: tuple[float, float], gram: Tensor) -> Tensor:
    return torch.tensor(values, dtype=gram.dtype, device=gram.device)


def _min_norm_weights_twice(gram: Array) -> Array:
    """`min_norm_weights` with the second task there twice: the same problem, but not a closed form any more."""
    twice = [0, 1, 1]
    first, *second = solvers.min_norm_weights(gram[np.ix_(twice, twice)])
    return np.array([first, sum(second)])


# name: the closed form, and the host solver that it must agree with
CASES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Array], Array]]] = {
    "harmonize": (
        lambda G: pair.harmonize_pair(G).sum(0),
        lambda G: solvers.project_onto_dual_cone(G, np.eye(2)).sum(0),
    ),
    "dual_projection": (
        lambda G: pair.dual_projection_pair(G, _on_device(POINT, G)),
        lambda G: solvers.project_onto_dual_cone(G, np.array([POINT]))[0],
    ),
    "min_norm": (pair.min_norm_pair, _min_norm_weights_twice),
    "bargaining": (pair.bargaining_pair, lambda G: solvers.bargaining_weights(G)[0]),
    "equal_projection": (pair.equal_projection_pair, solvers.equal_projection_weights),
    "equal_cosine": (pair.equal_cosine_pair, solvers.equal_cosine_weights),
}
for _c in (0.0, 0.4, 1.0, 2.0):
    CASES[f"cagrad-{_c}"] = (lambda G, c=_c: pair.cagrad_pair(G, c), lambda G, c=_c: solvers.cagrad_weights(G, c)[1])
for _scale in ("min", "median", "rmse"):
    CASES[f"aligned-{_scale}"] = (
        lambda G, s=_scale: pair.aligned_pair(G, _on_device(PREFERENCE, G), s),
        lambda G, s=_scale: solvers.aligned_weights(G, np.array(PREFERENCE), s),
    )

SECOND_ROWS: dict[str, Callable[[Array, Array], Array]] = {
    "random": lambda first, other: other,
    "short": lambda first, other: 1e-6 * other,
    "parallel": lambda first, other: 3.0 * first,
    "equal": lambda first, other: first,
    "opposite": lambda first, other: -3.0 * first,
    "mirrored": lambda first, other: -first,
    "nearly_parallel": lambda first, other: first + 1e-3 * other,
    "nearly_opposite": lambda first, other: -first + 1e-3 * other,
    "zero": lambda first, other: 0.0 * other,
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("second", SECOND_ROWS)
@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e18])
def test_agrees_with_the_host_solver(name: str, second: str, scale: float) -> None:
    closed, host = CASES[name]
    rng = np.random.default_rng(0)
    for _ in range(5):
        first = rng.standard_normal(4)
        jacobian = scale * np.stack([first, SECOND_ROWS[second](first, rng.standard_normal(4))])
        for rows in (jacobian, jacobian[::-1]):
            gram = rows @ rows.T
            got, wanted = closed(torch.from_numpy(gram.copy())).numpy(), host(gram)
            assert np.isfinite(got).all()
            combined = (np.abs(got) + np.abs(wanted)) @ lengths(rows)
            assert np.linalg.norm((got - wanted) @ rows / scale) <= 1e-9 * combined / scale


@pytest.mark.parametrize("name", CASES)
def test_two_zero_gradients_are_finite(name: str) -> None:
    assert CASES[name][0](torch.zeros(2, 2, dtype=torch.float64)).isfinite().all()


def test_parts_are_the_printed_ones() -> None:
    gram = torch.tensor([[4.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    assert pair.harmonize_pair(gram).tolist() == [[1.0, 1.0], [0.25, 1.0]]
    assert pair.harmonize_pair(gram.abs()).tolist() == [[1.0, 0.0], [0.0, 1.0]]


class _NoReadback(TorchDispatchMode):
    """Fails on the operator behind .item(), bool(tensor) and float(tensor): the host waiting for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "the host waits for the device"
        return func(*args, **(kwargs or {}))


def _gram_only(name: str) -> Callable[[Tensor], Tensor]:
    """The closed form with its other arguments made beforehand, outside the watched region."""
    point = torch.tensor(POINT, dtype=torch.float64)
    return {
        "dual_projection": lambda G: pair.dual_projection_pair(G, point.to(G.device)),
        "aligned-min": lambda G: pair.aligned_pair(G, point.to(G.device), "min"),
        "aligned-median": lambda G: pair.aligned_pair(G, point.to(G.device), "median"),
        "aligned-rmse": lambda G: pair.aligned_pair(G, point.to(G.device), "rmse"),
    }.get(name, CASES[name][0])


@pytest.mark.parametrize("name", CASES)
def test_never_waits_for_the_device(name: str) -> None:
    solve = _gram_only(name)
    with _NoReadback():
        solve(torch.tensor([[1.0, -0.5], [-0.5, 2.0]], dtype=torch.float64))
    assert solve(torch.empty(2, 2, dtype=torch.float64, device="meta")).shape == (2,)  # values do not even exist


def test_the_watch_notices_a_readback() -> None:
    with _NoReadback(), pytest.raises(AssertionError, match="waits"):
        torch.ones(()).item()
