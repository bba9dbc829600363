"""The Gramian methods against torchjd, which solves the same problems by other means."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchjd.aggregation as jd
from torch import Tensor
from torchjd.linalg import QuadprogProjector

import mtlgrad
from mtlgrad.aggregators import GramAggregator
from mtlgrad.solvers import bargaining_residual

SIZES = (2, 3, 5, 8, 16)
DRAWS = 4

Oracle = Callable[[Tensor], Tensor]


def unit_rows(m: int, seed: int) -> Tensor:
    """Equal norms and a well-conditioned Gramian: where torchjd's regularisation and thresholds do no harm."""
    J = torch.randn(m, 4 * m, dtype=torch.float64, generator=torch.Generator().manual_seed(100 * m + seed))
    return J / J.norm(dim=1, keepdim=True)


def projector() -> QuadprogProjector:
    return QuadprogProjector(norm_eps=1e-12, reg_eps=1e-13)


# Ours, torchjd's for m tasks, and what theirs is multiplied by (a mean where ours is a sum).
PAIRS: list[tuple[GramAggregator, Callable[[int], Oracle], Callable[[int], float]]] = [
    (mtlgrad.UPGrad(), lambda m: jd.UPGrad(projector=projector()), lambda m: 1),
    (mtlgrad.GH(), lambda m: jd.UPGrad(projector=projector()), lambda m: m),
    (mtlgrad.DualProj(), lambda m: jd.DualProj(projector=projector()), lambda m: 1),
    (mtlgrad.FairGrad(alpha=2.0), lambda m: jd.FairGrad(alpha=2.0), lambda m: 1),
    (mtlgrad.FairGrad(alpha=1.0), lambda m: jd.FairGrad(alpha=1.0), lambda m: 1),
    (mtlgrad.FairGrad(alpha=0.5), lambda m: jd.FairGrad(alpha=0.5), lambda m: 1),
    (mtlgrad.IMTLG(), lambda m: jd.IMTLG(), lambda m: 1),
    (mtlgrad.AlignedMTL(), lambda m: jd.AlignedMTL(), lambda m: m),
    (mtlgrad.AlignedMTL(scale="median"), lambda m: jd.AlignedMTL(scale_mode="median"), lambda m: m),
    (mtlgrad.AlignedMTL(scale="rmse"), lambda m: jd.AlignedMTL(scale_mode="rmse"), lambda m: m),
    (mtlgrad.ConFIG(), lambda m: jd.ConFIG(), lambda m: 1),
]


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize(("method", "oracle", "factor"), PAIRS, ids=[pair[0].name for pair in PAIRS])
def test_directions_agree(
    method: GramAggregator, oracle: Callable[[int], Oracle], factor: Callable[[int], float], m: int
) -> None:
    for seed in range(DRAWS):
        J = unit_rows(m, seed)
        ours, theirs = method(J), factor(m) * oracle(m)(J)
        assert float((ours - theirs).norm()) <= 1e-5 * float(theirs.norm())


@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem:UserWarning")
def test_nash_agrees_wherever_torchjd_solves_its_equation() -> None:
    compared = 0
    for m in SIZES:
        for seed in range(DRAWS):
            J = unit_rows(m, seed)
            theirs = jd.NashMTL(n_tasks=m, max_norm=0.0, optim_niter=100).weighting(J)
            theirs = theirs * (m / float(theirs @ J @ J.T @ theirs)) ** 0.5  # to the length that solves G w = 1/w
            G = (J @ J.T).numpy()
            ours = mtlgrad.NashMTL().weights(J @ J.T)
            assert bargaining_residual(G, ours.numpy()) <= 1e-12
            if bargaining_residual(G, theirs.numpy()) <= 1e-6:
                compared += 1
                assert float((ours - theirs).norm()) <= 1e-5 * float(ours.norm())
    assert compared >= 0.7 * DRAWS * len(SIZES)


@pytest.mark.parametrize("m", SIZES)
def test_mgda_is_at_least_as_short_as_torchjd_iterates(m: int) -> None:
    for seed in range(DRAWS):
        J = unit_rows(m, seed)
        assert float(mtlgrad.MGDA()(J).norm()) <= float(jd.MGDA(epsilon=1e-9, max_iters=500)(J).norm()) * (1 + 1e-12)


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize("c", [0.3, 1.2])
def test_cagrad_serves_the_worst_task_at_least_as_well(m: int, c: float) -> None:
    for seed in range(DRAWS):
        J = unit_rows(m, seed)
        mean = J.mean(0)
        ours, theirs = mtlgrad.CAGrad(c=c)(J), jd.CAGrad(c=c)(J)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3 * float(ours.norm()))  # Clarabel's accuracy
        assert float((ours - mean).norm()) <= c * float(mean.norm()) * (1 + 1e-9)
        assert float((J @ ours).min()) >= float((J @ theirs).min()) - 1e-9 * float(theirs.norm())


def test_pcgrad_agrees_for_two_tasks_and_reaches_the_same_outcomes_for_three() -> None:
    for seed in range(DRAWS):
        J = unit_rows(2, seed)
        assert float((mtlgrad.PCGrad()(J) - jd.PCGrad()(J)).norm()) <= 1e-5 * float(J.sum(0).norm())
    # Each of three tasks meets the two others in either order: up to eight directions, drawn at random by both.
    J = torch.tensor([[1.0, 0.2, 0.1], [-0.6, 1.0, 0.0], [-0.5, -0.4, 1.0]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    ours = {tuple(mtlgrad.PCGrad()(J, generator=generator).mul(1e6).round().tolist()) for _ in range(200)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = {tuple(jd.PCGrad()(J).mul(1e6).round().tolist()) for _ in range(200)}
    assert len(ours) == 8
    assert ours == theirs


def test_gradvac_agrees_step_by_step_for_two_tasks() -> None:
    ours, theirs = mtlgrad.GradVac(beta=0.3), jd.GradVacWeighting(beta=0.3, eps=0.0)
    state = ours.init(2)
    for seed in range(30):
        J = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        weights, state = ours.step(J @ J.T, state)
        torch.testing.assert_close(weights, theirs(J @ J.T), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("m", SIZES)
def test_modo_and_sdmgrad_agree_step_by_step(m: int) -> None:
    for ours, theirs in (
        (mtlgrad.MoDo(gamma=0.05, rho=0.2), jd.MoDoWeighting(gamma=0.05, rho=0.2)),
        (mtlgrad.SDMGrad(lam=0.4, lr=0.3), jd.SDMGradWeighting(lambda_=0.4, lr=0.3)),
    ):
        state = ours.init(m)
        for seed in range(8):
            J = 100 * unit_rows(m, seed)  # far above the 1e-8 that torchjd's SDMGrad adds
            G = J @ J.T if isinstance(ours, mtlgrad.SDMGrad) else J @ J.T / 1e4
            weights, state = ours.step(G, state)
            torch.testing.assert_close(weights, theirs(G), rtol=1e-7, atol=1e-9)


# ------------------------------------------------------------- where torchjd leaves the definition


def _smallest_cosine(J: Tensor, d: Tensor) -> float:
    return float((J @ d / (J.norm(dim=1) * d.norm())).min())


@pytest.mark.parametrize("ratio", [30.0, 1e3, 1e6])
def test_imbalanced_norms(ratio: float) -> None:
    J = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5]], dtype=torch.float64) * torch.tensor([[ratio], [1.0]]).double()
    assert _smallest_cosine(J, jd.UPGrad()(J)) < -0.01
    for method in (mtlgrad.UPGrad(), mtlgrad.DualProj(), mtlgrad.MGDA(), mtlgrad.CAGrad(c=1.0), mtlgrad.NashMTL()):
        assert _smallest_cosine(J, method(J)) >= -1e-9, method.name


def test_small_norms() -> None:
    J = 1e-4 * unit_rows(2, 0) * torch.tensor([[3.0], [1.0]])
    J[1] -= 2 * J[0] * (J[0] @ J[1]).abs() / J[0].square().sum() + 0.2 * J[0]
    assert float(J[0] @ J[1]) < 0
    torch.testing.assert_close(jd.UPGrad()(J), J.mean(0))  # torchjd: too small to count
    torch.testing.assert_close(mtlgrad.UPGrad()(J), mtlgrad.GH()(1e4 * J) / 2e4)
    # FairGrad: torchjd's least squares stop where they start.
    G = 1e-8 * unit_rows(3, 1) @ unit_rows(3, 1).T
    assert bargaining_residual(G.numpy(), jd.FairGradWeighting(alpha=1.0)(G).numpy()) > 0.1
    assert bargaining_residual(G.numpy(), mtlgrad.FairGrad(alpha=1.0).weights(G).numpy()) < 1e-12


def test_half_precision() -> None:
    J = unit_rows(4, 0)
    failed = 0
    for ours, theirs in (
        (mtlgrad.UPGrad(), jd.UPGrad()),
        (mtlgrad.NashMTL(), jd.NashMTL(n_tasks=4)),
        (mtlgrad.IMTLG(), jd.IMTLG()),
        (mtlgrad.AlignedMTL(), jd.AlignedMTL()),
    ):
        with torch.no_grad():
            exact = ours(J)
            torch.testing.assert_close(ours(J.bfloat16()).double(), exact, rtol=0, atol=0.05 * float(exact.norm()))
            try:
                theirs(J.bfloat16())
            except (RuntimeError, ValueError, TypeError):
                failed += 1
    assert failed >= 3


def test_krum_scores_sum_squares_as_the_paper_says() -> None:
    differs = 0
    for seed in range(200):
        J = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        scores = torch.cdist(J, J).square().sort(dim=1)[0][:, 1:3].sum(1)
        assert int(mtlgrad.Krum(byzantine=1).weights(J @ J.T).argmax()) == int(scores.argmin())
        differs += int(jd.KrumWeighting(1)(J @ J.T).argmax()) != int(scores.argmin())
    assert differs > 0  # torchjd sums the distances themselves
