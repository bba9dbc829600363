"""GradDrop's coin and its two forms, against the published algorithm written out coordinate by coordinate."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mtlgrad import ActivationGradDrop, Balancer, GradDrop, Sum
from mtlgrad.aggregators.graddrop import _coins


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_coin_is_uniform_and_its_neighbours_are_independent() -> None:
    n = 1 << 20
    u = _coins(torch.empty(n, dtype=torch.float64), generator(0))
    assert 0 < float(u.min()) < float(u.max()) < 1
    counts = torch.histc(u, bins=64, min=0, max=1)
    chi2 = float(((counts - n / 64).square() / (n / 64)).sum())
    assert 27 < chi2 < 119, "63 degrees of freedom: within 1e-5 on either side"
    centred = u - 0.5
    for lag in range(1, 9):  # four coins come from one draw
        correlation = float((centred[lag:] * centred[:-lag]).mean() * 12)
        assert abs(correlation) < 5 / n**0.5


@pytest.mark.parametrize("column", [[1.0, -1.0], [3.0, -1.0], [0.1, -2.0, 0.4], [5.0, 2.0], [-1.0, 0.0]])
def test_a_sign_is_kept_with_its_purity(column: list[float]) -> None:
    n = 200_000
    g = torch.tensor(column, dtype=torch.float64)
    above, below = g.clamp(min=0).sum(), g.clamp(max=0).sum()
    purity = float(above / (above - below))
    d = GradDrop()(g[:, None].expand(-1, n).contiguous(), generator=generator(1))
    assert set(d.tolist()) <= {float(above), float(below)}
    if above > 0 > below:
        kept = float((d == above).double().mean())
        assert abs(kept - purity) < 5 * (purity * (1 - purity) / n) ** 0.5 + 2**-17


def test_a_tiny_gradient_survives_beside_a_large_one_of_the_other_sign() -> None:
    J = torch.tensor([[1.0], [-1e-6]]).expand(2, 1 << 21)  # float32: 1 + 1e-6 - 1 would not be 1e-6
    kept = GradDrop()(J, generator=generator(0)).unique()
    assert set(kept.tolist()) <= {1.0, float(torch.tensor(-1e-6))}


def test_leak_passes_each_task_its_share() -> None:
    J = torch.randn(3, 5000, dtype=torch.float64, generator=generator(2))
    leak = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)[:, None]
    plain = GradDrop()(J, generator=generator(3))
    positive = torch.isclose(plain, J.clamp(min=0).sum(0))
    mask = torch.where(positive, J > 0, J < 0).double()
    wanted = ((leak + (1 - leak) * mask) * J).sum(0)
    torch.testing.assert_close(GradDrop(leak=(0.0, 0.3, 1.0))(J, generator=generator(3)), wanted)


def by_hand(z: Tensor, J: Tensor, leak: float, seed: int) -> Tensor:
    """Algorithm 1, feature by feature."""
    batch, width = z.shape
    u = _coins(torch.empty(width, dtype=torch.float64), generator(seed))
    rows = J.view(len(J), batch, width)
    d = torch.zeros(batch, width, dtype=torch.float64)
    for k in range(width):
        signed = [float((z[:, k].sign() * row[:, k]).sum()) for row in rows]
        size = sum(abs(s) for s in signed)
        purity = 0.5 * (1 + sum(signed) / size) if size else 0.5
        for row, s in zip(rows, signed, strict=True):
            kept = (purity > u[k] and s > 0) or (purity < u[k] and s < 0)
            d[:, k] += (leak + (1 - leak) * kept) * row[:, k]
    return d.reshape(-1)


@pytest.mark.parametrize("leak", [0.0, 0.25])
def test_activations_follow_the_published_algorithm(leak: float) -> None:
    z = torch.randn(6, 40, dtype=torch.float64, generator=generator(4)).relu()  # exact zeros, whole features too
    z[:, 3] = 0
    J = torch.randn(3, 240, dtype=torch.float64, generator=generator(5))
    got = ActivationGradDrop(leak=leak)(J, features=z, generator=generator(6))
    torch.testing.assert_close(got, by_hand(z, J, leak, 6))


def test_activations_need_not_be_flat() -> None:
    z = torch.randn(3, 2, 4, dtype=torch.float64, generator=generator(4))
    J = torch.randn(2, 24, dtype=torch.float64, generator=generator(5))
    got = ActivationGradDrop()(J, features=z, generator=generator(6))
    torch.testing.assert_close(got, by_hand(z.flatten(1), J, 0.0, 6))


def network() -> tuple[nn.Module, nn.Module, Tensor]:
    torch.manual_seed(0)
    return nn.Linear(4, 6).double(), nn.Linear(6, 2).double(), torch.randn(5, 4, dtype=torch.float64)


def losses(head: nn.Module, z: Tensor) -> dict[str, Tensor]:
    out = head(z)
    return {"a": (out[:, 0] - 1).square().mean(), "b": (out[:, 1] + out[:, 0]).square().mean()}


def test_balancer_hands_the_features_on() -> None:
    trunk, head, x = network()
    z = trunk(x)
    step = Balancer(ActivationGradDrop(), trunk.parameters(), seed=7).backward(losses(head, z), features=z)
    got = torch.cat([p.grad.reshape(-1) for p in trunk.parameters()])  # type: ignore[union-attr]
    z = trunk(x)
    J = torch.stack([torch.autograd.grad(v, z, retain_graph=True)[0].reshape(-1) for v in losses(head, z).values()])
    d = by_hand(z.detach(), J, 0.0, 7)
    wanted = torch.autograd.grad(z, list(trunk.parameters()), d.view_as(z))
    torch.testing.assert_close(got, torch.cat([g.reshape(-1) for g in wanted]))
    torch.testing.assert_close(step.gram, J @ J.T)


def test_balancer_says_where_features_are_missing() -> None:
    trunk, head, x = network()
    method = ActivationGradDrop()
    z = trunk(x)
    balancer = Balancer(method, trunk.parameters())
    with pytest.raises(ValueError, match="features=z"):
        balancer.backward(losses(head, z))
    with pytest.raises(ValueError, match="one representation, got 2"):
        balancer.backward(losses(head, z), features=[z, trunk(x)])
    with pytest.raises(ValueError, match=r"accumulate\(\)"):
        balancer.accumulate(losses(head, z))
    with pytest.raises(ValueError, match="groups=.*representation"):
        Balancer(method, trunk.parameters(), groups="tensor")
    Balancer(Sum(), trunk.parameters()).backward(losses(head, z), features=z)
