"""CAGrad: the printed problem on J, and the rescalings of the authors' code."""

from __future__ import annotations

import pytest
import torch

from mtlgrad import MGDA, CAGrad, Mean
from mtlgrad.testing import jacobians


@pytest.mark.parametrize("family", ["plain", "imbalanced", "near parallel"])
@pytest.mark.parametrize("c", [0.3, 1.0, 2.0])
def test_no_other_direction_in_the_ball_serves_the_worst_task_better(family: str, c: float) -> None:
    J = jacobians(4, 8)[family]
    mean, d = J.mean(0), CAGrad(c=c)(J)
    radius = c * float(mean.norm())
    assert float((d - mean).norm()) <= radius * (1 + 1e-9)
    worst = float((J @ d).min())
    generator = torch.Generator().manual_seed(0)
    for size in (1.0, 0.1, 1e-3):
        steps = torch.randn(500, 8, dtype=torch.float64, generator=generator)
        others = d + size * radius * steps / steps.norm(dim=1, keepdim=True)
        shift = others - mean
        others = mean + shift * (radius / shift.norm(dim=1, keepdim=True)).clamp(max=1)
        assert float((others @ J.T).min(1)[0].max()) <= worst + 1e-9 * float(J.norm() * d.norm())


@pytest.mark.parametrize("m", [2, 3, 8])
def test_rescalings_divide_the_papers_direction(m: int) -> None:
    J = jacobians(m)["plain"]
    for c in (0.4, 1.5):
        torch.testing.assert_close(CAGrad(c=c, rescale="c_squared")(J) * (1 + c**2), CAGrad(c=c)(J))
        torch.testing.assert_close(CAGrad(c=c, rescale="c")(J) * (1 + c), CAGrad(c=c)(J))


def test_the_radius_goes_from_the_mean_towards_mgda() -> None:
    J = jacobians(4)["plain"]
    torch.testing.assert_close(CAGrad(c=0.0)(J), Mean()(J))
    d, shortest = CAGrad(c=1e9, rescale="c")(J), MGDA()(J)
    assert float(d @ shortest / (d.norm() * shortest.norm())) == pytest.approx(1)


def test_a_bad_rescaling_is_named() -> None:
    with pytest.raises(ValueError, match="rescale must be one of 'none', 'c_squared', 'c', got 1"):
        CAGrad(rescale=1)  # type: ignore[arg-type]
