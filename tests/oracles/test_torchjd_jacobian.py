"""Methods that read J against torchjd, on equal-norm, well-conditioned rows."""

from __future__ import annotations

import pytest
import torch
import torchjd.aggregation as torchjd
from torch import Tensor

from mtlgrad import ExcessMTL, GradDrop, TrimmedMean


def unit_rows(m: int, seed: int) -> Tensor:
    J = torch.randn(m, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return J / J.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("m", [2, 5, 16])
def test_excessmtl_after_its_warm_up(m: int) -> None:
    ours, theirs = ExcessMTL(eta=0.5, warmup=3), torchjd.ExcessMTL(robust_step_size=0.5, n_warmup_steps=3)
    state = ours.init_like(unit_rows(m, 0))
    for seed in range(8):
        J = unit_rows(m, seed)
        direction, state = ours.step(J, state)
        torch.testing.assert_close(direction, theirs(J), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("m", "trim"), [(3, 1), (5, 2), (16, 4)])
def test_trimmed_mean(m: int, trim: int) -> None:
    J = unit_rows(m, 1)
    torch.testing.assert_close(TrimmedMean(trim=trim)(J), torchjd.TrimmedMean(trim)(J), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("m", [2, 5, 16])
def test_graddrop_in_the_mean(m: int) -> None:
    """The two draw their coins differently: the means over many draws agree within six standard errors."""
    J, draws = unit_rows(m, 2), 600
    generator = torch.Generator().manual_seed(0)
    ours = torch.stack([GradDrop()(J, generator=generator) for _ in range(draws)])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.stack([torchjd.GradDrop()(J) for _ in range(draws)])
    error = ((ours.var(0) + theirs.var(0)) / draws).sqrt()
    assert bool(((ours.mean(0) - theirs.mean(0)).abs() <= 6 * error + 1e-9).all())
