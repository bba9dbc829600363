"""accelerate: accumulated batches are the large batch, saved states go on, float16 gradients are scaled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch.utils.data import DataLoader

import mtlgrad
from mtlgrad.integrations.accelerate import backward
from tests.integrations.nets import Smooth, data, equal


@pytest.fixture(autouse=True)
def fresh_state() -> Iterator[None]:
    yield
    for one in (AcceleratorState, GradientState, PartialState):
        one._reset_state()


def trained(accelerator: Accelerator, method: mtlgrad.Method, batch: int, n: int = 32) -> Smooth:
    model = Smooth()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(data(n), batch_size=batch))
    balancer = mtlgrad.Balancer(method, shared=accelerator.unwrap_model(model).trunk.parameters())
    for x in loader:
        with accelerator.accumulate(model):
            record = backward(accelerator, balancer, model(x))
            assert (record is not None) == accelerator.sync_gradients
            optimizer.step()
            optimizer.zero_grad()
    return accelerator.unwrap_model(model)


@pytest.mark.parametrize("method", [mtlgrad.GH(), mtlgrad.Sum(), mtlgrad.UW()], ids=lambda method: method.name)
def test_accumulated_batches_are_the_large_batch(method: mtlgrad.Method) -> None:
    whole = trained(Accelerator(cpu=True), method, 16)
    GradientState._reset_state()
    parts = trained(Accelerator(cpu=True, gradient_accumulation_steps=4), method, 4)
    exact = 2e-2 if isinstance(method, mtlgrad.UW) else 1e-5  # weights are those of the first micro-batch
    for p, q in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=exact, atol=exact)


def test_a_short_last_window_is_taken_where_weights_do_not_depend_on_its_length() -> None:
    trained(Accelerator(cpu=True, gradient_accumulation_steps=3), mtlgrad.GH(), 4, n=16)  # windows of 3 and of 1
    GradientState._reset_state()
    with pytest.raises(ValueError, match="micro-batches"):
        trained(Accelerator(cpu=True, gradient_accumulation_steps=3), mtlgrad.UW(), 4, n=20)  # windows of 3 and of 2


def test_a_scaler_is_served() -> None:
    accelerator = Accelerator(cpu=True)
    plain = trained(accelerator, mtlgrad.GH(), 8)
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    model = Smooth()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    balancer = mtlgrad.Balancer(mtlgrad.GH(), shared=model.trunk.parameters())
    for x in data().split(8):
        optimizer.zero_grad()
        backward(accelerator, balancer, model(x))
        assert model.a.weight.grad.abs().max() > 10  # it holds the scale
        accelerator.scaler.step(optimizer)
        accelerator.scaler.update()
    for p, q in zip(plain.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_a_saved_training_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    def steps(balancer: mtlgrad.Balancer, model: Smooth, parts: tuple[torch.Tensor, ...]) -> None:
        for x in parts:
            optimizer.zero_grad()
            backward(accelerator, balancer, model(x))
            optimizer.step()

    accelerator = Accelerator(cpu=True)
    model = Smooth()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer = accelerator.prepare(model, optimizer)
    balancer = mtlgrad.Balancer(mtlgrad.GradDrop(), shared=model.trunk.parameters(), seed=3)
    accelerator.register_for_checkpointing(balancer)
    parts = data().split(8)
    steps(balancer, model, parts[:2])
    accelerator.save_state(str(tmp_path))
    steps(balancer, model, parts[2:])
    straight = Smooth()
    straight.load_state_dict(model.state_dict())
    balancer.backward(model(parts[0]))  # astray
    accelerator.load_state(str(tmp_path))
    steps(balancer, model, parts[2:])
    assert equal(straight, model)


@pytest.mark.parametrize("k", [1, 2])
def test_a_batch_may_lack_a_task(k: int) -> None:
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=k)
    model = Smooth()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(data(32), batch_size=8))
    balancer = mtlgrad.Balancer(mtlgrad.GH(), shared=model.trunk.parameters())
    present = []
    for x in loader:
        with accelerator.accumulate(model):
            record = backward(accelerator, balancer, {"a": model(x)["a"], "b": None})
            present += [] if record is None else [record.present]
            optimizer.step()
            optimizer.zero_grad()
    assert present == [("a",)] * (4 // k)
