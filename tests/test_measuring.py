"""`measure` against the Balancer, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch

import mtlgrad
from tests.nets import Net, batch


def test_it_is_what_the_balancer_records() -> None:
    net, x = Net(), batch()
    losses = net.losses(x)
    found = mtlgrad.measure(losses, net.trunk)
    record = mtlgrad.Balancer(mtlgrad.GH(), shared=net.trunk).backward(losses)
    torch.testing.assert_close(found.gram, record.gram)
    torch.testing.assert_close(found.losses, record.losses)
    assert found.tasks == record.tasks
    assert bool(found.conflicts_before) == bool(record.conflicts_before)
    assert found.weights is None
    assert found.conflicts_after is None


def test_no_gradient_is_touched_and_the_graph_is_kept() -> None:
    net, x = Net(), batch()
    losses = net.losses(x)
    net.heads["a"].weight.grad = torch.ones_like(net.heads["a"].weight)
    mtlgrad.measure(losses, net.trunk)
    assert all(p.grad is None for p in net.trunk.parameters())
    assert bool((net.heads["a"].weight.grad == 1).all())
    sum(losses.values()).backward()


def test_frozen_parameters_do_not_count_and_unreached_ones_are_zero() -> None:
    net, x = Net(), batch()
    net.trunk[0].requires_grad_(False)
    spare = torch.nn.Linear(2, 2).double()
    torch.testing.assert_close(
        mtlgrad.measure(net.losses(x), [net.trunk, spare]).gram, mtlgrad.measure(net.losses(x), net.trunk[2]).gram
    )


def test_a_loss_that_is_not_finite_is_told() -> None:
    w = torch.ones(1, requires_grad=True)
    assert not bool(mtlgrad.measure({"a": w[0] / 0, "b": w[0]}, [w]).finite)


def test_wrong_arguments_are_told() -> None:
    w = torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match=r"losses\['a'\] must be a scalar"):
        mtlgrad.measure({"a": torch.ones(2) * w}, [w])
    with pytest.raises(ValueError, match="shared holds no parameter that requires a gradient"):
        mtlgrad.measure({"a": w[0]}, [torch.ones(1)])
