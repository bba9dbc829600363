"""PCD, and the methods that weigh by lengths and angles alone: what their definitions imply."""

from __future__ import annotations

import pytest
import torch
import torchjd.aggregation as torchjd
from torch import Tensor

from mtlgrad import CRMOGM, MGDA, PCD, CappedMGDA, DiBSMTL, Ema, IMGrad, LRAnnealing, Mean, Normalised, UPGrad
from mtlgrad.testing import jacobians


def rows(m: int, seed: int, n: int = 12) -> Tensor:
    return torch.randn(m, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("m", [2, 3, 6])
def test_pcd_is_that_of_torchjd_over_a_run(m: int) -> None:
    for tau, beta in ((0.02, 0.999), (0.3, 0.9)):
        ours, theirs = PCD(tau=tau, beta=beta), torchjd.PCD(tau=tau, beta=beta)
        state = ours.init(m)
        for seed in range(8):
            J = rows(m, seed) * torch.logspace(0, 2, m, dtype=torch.float64)[:, None]
            weights, state = ours.step(J @ J.T, state)
            torch.testing.assert_close(weights @ J, theirs(J), rtol=1e-6, atol=1e-9)


def test_pcd_keeps_its_promise_and_its_length() -> None:
    method = PCD(tau=0.2, eps=0.0)
    for m in (2, 3, 8):
        for family, J in jacobians(m).items():
            G = J @ J.T
            d, norms = method.weights(G) @ J, J.norm(dim=1)
            if norms[0] == 0 or (d.norm() == 0 and family == "opposite rows"):
                assert d.norm() == 0
            elif not method.fell_back(G):
                assert float(d.norm()) == pytest.approx(float(norms[0]), rel=1e-6), family
                assert ((J @ d)[1:] >= -1e-9 * norms[1:] * norms[0]).all(), family
            else:
                torch.testing.assert_close(d, J[0])


def test_pcd_may_have_any_main_task() -> None:
    J = rows(4, 0)
    order = [2, 0, 1, 3]
    torch.testing.assert_close(PCD(tau=0.4, main=2)(J), PCD(tau=0.4)(J[order]))


def test_imgrad_minimises_the_weighted_dual() -> None:
    for seed in range(10):
        J = rows(4, seed)
        g0, gm = J.mean(0), MGDA()(J)
        kappa = float(g0 @ gm / g0.norm() / gm.norm())
        added = IMGrad(c=0.5).weights(J @ J.T) - 0.25
        assert float((added @ J).norm() / g0.norm()) == pytest.approx(0.5)
        pull = added / added.sum()

        def dual(w: Tensor, J: Tensor = J, g0: Tensor = g0, kappa: float = kappa) -> float:
            return float((1.5 - kappa) * (w @ J) @ g0 + kappa * 0.5 * g0.norm() * (w @ J).norm())

        draws = torch.rand(300, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).log()
        assert dual(pull) <= min(dual(w / w.sum()) for w in draws) + 1e-9


def test_dibs_reads_directions_only() -> None:
    J = rows(3, 0)
    for steps in (1, 5):
        stretched = torch.tensor([[1e-3], [1.0], [1e6]], dtype=torch.float64) * J
        torch.testing.assert_close(DiBSMTL(steps)(J), DiBSMTL(steps)(stretched))
    torch.testing.assert_close(DiBSMTL()(J), (J / J.norm(dim=1, keepdim=True)).sum(0))


def test_capped_mgda_between_its_ends() -> None:
    J = rows(5, 3)
    torch.testing.assert_close(CappedMGDA(alpha=0.2)(J), MGDA()(J))
    torch.testing.assert_close(CappedMGDA(alpha=1.0)(J), Mean()(J))
    assert CappedMGDA(alpha=0.7).weights(J @ J.T).max() <= 1 / 3.5 + 1e-12


def test_cr_mogm_is_torchjds_and_forgets_its_start_as_ema_never_had_one() -> None:
    equal = torch.full((3,), 1 / 3, dtype=torch.float64)
    ours = CRMOGM(UPGrad(), alpha=0.6)
    theirs = torchjd.CRMOGMWeighting(torchjd.UPGradWeighting(), alpha=0.6, initial_weights=equal)
    state, ema = ours.init(3), Ema(UPGrad(), beta=0.6)
    averaged = ema.init(3)
    for seed in range(30):
        J = rows(3, seed)
        weights, state = ours.step(J @ J.T, state)
        other, averaged = ema.step(J @ J.T, averaged)
        torch.testing.assert_close(weights, theirs(J @ J.T), rtol=2e-3, atol=2e-3)  # they add 1e-4 tr G to G
    torch.testing.assert_close(weights, other, rtol=1e-5, atol=1e-5)


def test_lr_annealing_reads_largest_and_mean_entries() -> None:
    J = torch.tensor([[3.0, -6.0, 0.0], [1.0, 1.0, -1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    method = LRAnnealing(alpha=0.5)
    d, state = method.step(J, method.init_like(J))
    assert state["weights"].tolist() == [1.0, 3.5, 1.0]
    torch.testing.assert_close(d, J[0] + 3.5 * J[1])
    _, state = method.step(J, state)
    assert state["weights"].tolist() == [1.0, 4.75, 1.0]


def test_wrappers_name_what_they_hold() -> None:
    with pytest.raises(TypeError, match="GramAggregator"):
        CRMOGM(Mean())  # type: ignore[arg-type]
    assert Normalised(CappedMGDA()).traits.scale_invariant
