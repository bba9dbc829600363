"""A matrix that no J has as its Gramian is refused; one that rounding made so is not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtlgrad import GH, NashMTL, UPGrad
from mtlgrad.aggregators.host import check_is_gram, is_gram_of_two
from mtlgrad.linalg import gram
from tests.solvers.hard import stress


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_every_gramian_passes_however_it_was_formed(dtype: torch.dtype) -> None:
    for k, rows in enumerate(stress(200, seed=1)):
        J = torch.from_numpy(rows)
        check_is_gram(gram(J), torch.float64)
        single = J.to(dtype)
        for formed in (single @ single.T, gram(single).to(dtype)):
            if formed.isfinite().all():
                check_is_gram(formed.double(), dtype)
        assert torch.isfinite(J).all(), f"case {k}"


@settings(max_examples=200, deadline=None)
@given(
    m=st.integers(2, 6),
    seed=st.integers(0, 10**6),
    share=st.floats(1e-4, 1.0),
    spread=st.floats(0, 6),
    kind=st.sampled_from(["asymmetric", "indefinite"]),
)
def test_what_is_no_gramian_is_refused(m: int, seed: int, share: float, spread: float, kind: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    J = torch.randn(m, m + 2, dtype=torch.float64, generator=generator)
    J = J * torch.logspace(0, spread, m, dtype=torch.float64)[:, None]
    G, norms = J @ J.T, J.norm(dim=1)
    if kind == "asymmetric":
        G[0, m - 1] += share * norms[0] * norms[m - 1]
    else:
        cosines = G / norms.outer(norms)
        values, vectors = torch.linalg.eigh(cosines)
        values[0] = -m * share
        G = (vectors * values @ vectors.T) * norms.outer(norms)
    with pytest.raises(ValueError, match="symmetric|semi-definite|squared lengths"):
        UPGrad().weights(G)


def test_two_tasks_off_the_host_give_nan_and_nobody_waits() -> None:
    for bad in ([[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.4, 1.0]], [[-1.0, 0.0], [0.0, 1.0]]):
        assert not is_gram_of_two(torch.tensor(bad, dtype=torch.float64), torch.float64)
        with pytest.raises(ValueError, match="gram must be J J"):
            GH().weights(torch.tensor(bad))
    for good in ([[1.0, -2.0], [-2.0, 4.0]], [[0.0, 0.0], [0.0, 1.0]], [[1e-40, 1e-35], [1e-35, 1e-30]]):
        assert is_gram_of_two(torch.tensor(good, dtype=torch.float64), torch.float64)
    assert not is_gram_of_two(torch.full((2, 2), torch.nan, dtype=torch.float64), torch.float64)
    assert GH().weights(torch.eye(2, device="meta")).device.type == "meta"


def test_the_message_is_about_what_was_given() -> None:
    J = torch.eye(3)
    J[1, 1] = torch.nan
    with pytest.raises(ValueError, match=r"jacobian must be finite.*rows \[1\]"):
        NashMTL()(J)

    def through(G: Tensor) -> None:
        NashMTL().weights(G)

    with pytest.raises(ValueError, match="gram must be finite"):
        through(J)
    with pytest.raises(ValueError, match=r"symmetric, got 0.5 at \[0, 1\] and 0.25 at \[1, 0\].*two batches"):
        through(torch.tensor([[1.0, 0.5], [0.25, 1.0]]))
