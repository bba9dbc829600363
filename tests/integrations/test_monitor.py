"""A training that is watched is the training that is not."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import mtlgrad
from mtlgrad.integrations.monitor import ConflictMonitor, summary
from tests.integrations.nets import Restless, data, equal


def trained(monitor: ConflictMonitor | None) -> tuple[Restless, list[float]]:
    model = Restless(noise=0.1, dropout=0.3)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for part in data().split(8):
        if monitor is not None:
            monitor.observe(model, part)
        optimizer.zero_grad()
        torch.stack(list(model(part).values())).sum().backward()
        optimizer.step()
    return model, [torch.rand(()).item(), float(np.random.rand()), random.random()]  # noqa: NPY002


@pytest.mark.parametrize("every", [1, 3])
def test_a_watched_training_is_the_same_to_the_last_bit(every: int) -> None:
    def losses(model: Restless, x: torch.Tensor) -> dict[str, torch.Tensor]:
        random.random()
        return model(x)

    alone, next_draws = trained(None)
    monitor = ConflictMonitor(losses, lambda model: model.trunk.parameters(), every=every)
    watched, draws = trained(monitor)
    assert monitor.latest is not None
    assert equal(alone, watched)
    assert draws == next_draws


def test_it_measures_what_the_balancer_sees() -> None:
    model, x = Restless(), data(8)
    seen = ConflictMonitor(lambda model, x: model(x), model.trunk, every=1).observe(model, x)
    record = mtlgrad.Balancer(mtlgrad.GH(), shared=model.trunk.parameters()).backward(model(x))
    assert seen is not None
    torch.testing.assert_close(seen.gram, record.gram)
    torch.testing.assert_close(seen.losses, record.losses)


def test_gradients_already_there_stay() -> None:
    model, x = Restless(), data(8)
    model(x)["a"].backward()
    before = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    ConflictMonitor(lambda model, x: model(x), model.trunk, every=1).observe(model, x)
    for p, old in zip(model.parameters(), before, strict=True):
        assert (p.grad is None) == (old is None)
        assert old is None or torch.equal(p.grad, old)


def test_steps_go_on_where_they_stopped() -> None:
    model, x = Restless(), data(8)
    first, second = (ConflictMonitor(lambda model, x: model(x), model.trunk, every=3) for _ in range(2))
    for _ in range(2):
        first.observe(model, x)
    second.load_state_dict(first.state_dict())
    assert [second.observe(model, x) is not None for _ in range(3)] == [False, True, False]


def test_wrong_arguments_are_told() -> None:
    with pytest.raises(TypeError, match="losses must be a function of the model and the batch"):
        ConflictMonitor({"a": 1}, [])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="every must be an int >= 1, got 0"):
        ConflictMonitor(lambda model: {}, [], every=0)


def test_a_summary_holds_what_the_record_measured() -> None:
    model, x = Restless(), data(8)
    record = mtlgrad.Balancer(mtlgrad.GH(), shared=model.trunk.parameters()).backward(model(x))
    found = summary(record, "p/")
    assert found["p/min_cosine"] == record.cosines[0, 1]
    assert found["p/weight/b"] == record.weights[1]
    assert found["p/norm/a"] == record.norms[0]
    record = mtlgrad.Balancer(mtlgrad.Sum(), shared=model.trunk.parameters()).backward(model(x))
    assert set(summary(record)) == {"loss/a", "loss/b", "weight/a", "weight/b"}
    record = mtlgrad.Balancer(mtlgrad.GH(), shared=model.trunk.parameters(), groups="tensor").backward(model(x))
    assert "weight/a" not in summary(record)


@pytest.mark.parametrize("method", [mtlgrad.GH(), mtlgrad.Sum()], ids=lambda method: method.name)
def test_a_summary_holds_what_is_a_number(method: mtlgrad.Method) -> None:
    w = torch.ones(3, requires_grad=True)
    balancer = mtlgrad.Balancer(method, shared=[w], tasks=("a", "b", "c"), diagnose_every=1)
    for present in ("abc", "ac", "b", "bc"):
        losses = {name: (w * (k + 1)).sin().sum() - 2 * w[k] for k, name in enumerate("abc") if name in present}
        record = balancer.backward(losses)
        found = summary(record)
        assert all(value.isfinite() for value in found.values())
        assert {name[-1] for name in found if name.startswith(("loss/", "weight/", "norm/"))} == set(present)
        scalars = record.scalars()
        pairs = [value for name, value in scalars.items() if name.startswith("cosine/")]
        assert ("min_cosine" in found) == bool(pairs)
        assert not pairs or found["min_cosine"].item() == pytest.approx(min(pairs))
        assert found["conflicts_before"].item() == scalars["conflicts_before"]
