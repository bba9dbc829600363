"""`fell_back`: one way to ask whether a method's definition had an answer."""

from __future__ import annotations

import pytest
import torch

import mtlgrad
from mtlgrad import GH, IMTLG, Balancer, ConFIG, FairGrad, GHPlusPlus, GradDrop, NashMTL, Sum
from mtlgrad.aggregators import GramAggregator
from mtlgrad.solvers import bargaining_weights, equal_cosine_weights, equal_projection_weights
from mtlgrad.solvers.pair import bargaining_pair, equal_cosine_pair, equal_projection_pair
from mtlgrad.testing import jacobians

OPPOSITE = torch.tensor([[1.0, 0.0], [-2.0, 0.0]])
PARTIAL = [NashMTL(), NashMTL(max_norm=1.0), FairGrad(), ConFIG(), GHPlusPlus(form="rotation")]


@pytest.mark.parametrize("method", PARTIAL, ids=lambda m: m.name)
def test_opposite_gradients_and_ordinary_ones(method: GramAggregator) -> None:
    told = method.fell_back(OPPOSITE @ OPPOSITE.T)
    assert told.shape == ()
    assert told.dtype == torch.bool
    assert bool(told)
    plain = jacobians(2)["plain"]
    assert not bool(method.fell_back(plain @ plain.T))


def test_every_method_answers_on_every_input() -> None:
    for entry in mtlgrad.catalog.CATALOG.values():
        for method in entry.methods:
            if not isinstance(method, GramAggregator):
                continue
            m = max(2, method.traits.min_tasks)
            for family, J in jacobians(m).items():
                told = method.fell_back(J @ J.T)
                assert (told.shape, told.dtype) == ((), torch.bool), f"{method.name}, {family}"
                if type(method)._fell_back is GramAggregator._fell_back or family in ("plain", "tiny", "huge"):
                    assert not bool(told), f"{method.name}, {family}"


@pytest.mark.parametrize("method", [NashMTL(), IMTLG(), ConFIG(), GH()], ids=lambda m: m.name)
def test_for_two_tasks_nobody_waits_for_the_device(method: GramAggregator) -> None:
    there = torch.empty(2, 2, device="meta")
    assert method.fell_back(there).device.type == "meta"


def test_the_closed_form_agrees_with_the_host_for_two_tasks() -> None:
    # On an accelerator the pair functions decide; on the CPU the host solvers do.
    for J in (OPPOSITE.double(), jacobians(2)["plain"], jacobians(2)["zero row"], torch.zeros(2, 3).double()):
        G = J @ J.T
        assert bool((bargaining_pair(G) == 0).all()) == (not bargaining_weights(G.numpy())[0].any())
        assert bool((equal_cosine_pair(G) == 0).all()) == (not equal_cosine_weights(G.numpy()).any())
        assert bool((equal_projection_pair(G) == 0).all()) == (not equal_projection_weights(G.numpy()).any())


def test_it_checks_its_input() -> None:
    with pytest.raises(ValueError, match=r"gram must have shape \[m, m\]"):
        GH().fell_back(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"exactly 2.*m=3"):
        GHPlusPlus().fell_back(torch.eye(3))


def record(method: mtlgrad.Method, rows: torch.Tensor, **arguments: object) -> mtlgrad.StepRecord:
    p = torch.zeros(rows.shape[1], requires_grad=True)
    balancer = Balancer(method, [p], **arguments)  # type: ignore[arg-type]
    return balancer.backward({str(k): row @ p for k, row in enumerate(rows)})


def test_a_step_record_tells() -> None:
    plain = jacobians(2)["plain"].float()
    assert bool(record(NashMTL(), OPPOSITE).fell_back)
    assert record(NashMTL(), OPPOSITE).to_dict()["fell_back"] is True
    assert not bool(record(NashMTL(), plain).fell_back)
    assert not bool(record(GH(), OPPOSITE).fell_back)


def test_a_step_record_has_nothing_to_tell() -> None:
    plain = jacobians(2)["plain"].float()
    assert record(Sum(), plain, diagnose_every=1).fell_back is None
    assert record(GradDrop(), plain).fell_back is None
    assert record(NashMTL(), OPPOSITE, groups="tensor").fell_back is None


def test_a_step_that_was_not_finite_never_asked_the_method() -> None:
    broken = torch.tensor([[1.0, float("inf")], [-1.0, 2.0]])
    for method in (NashMTL(), FairGrad(), ConFIG()):
        assert not bool(record(method, broken).fell_back)


@pytest.mark.parametrize("method", [NashMTL(), FairGrad(), ConFIG()], ids=lambda m: m.name)
def test_three_gradients_that_cancel_and_none_at_all(method: GramAggregator) -> None:
    around = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]], dtype=torch.float64)
    for J in (around, torch.zeros(3, 2, dtype=torch.float64)):
        assert not method.weights(J @ J.T).any()
        assert bool(method.fell_back(J @ J.T))
