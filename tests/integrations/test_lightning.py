"""Lightning: the loop by hand, resumed and accumulated trainings, and the monitor that changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from torch.utils.data import DataLoader

import mtlgrad
from mtlgrad.integrations.lightning import MonitorCallback, MultiLossMixin
from mtlgrad.integrations.monitor import ConflictMonitor
from tests.integrations.nets import Restless, Smooth, data, equal

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning"),  # Lightning 2.6, torch 2.13
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
]


class Net(MultiLossMixin, L.LightningModule):
    def __init__(self, method: mtlgrad.Method, micro_batches: int = 1, schedule: bool = False) -> None:
        super().__init__()
        self.model = Smooth()
        self.method, self.micro_batches, self.schedule = method, micro_batches, schedule

    def compute_losses(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        return self.model(batch)

    def configure_balancer(self) -> mtlgrad.Balancer:
        return mtlgrad.Balancer(self.method, shared=self.model.trunk.parameters())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        if not self.schedule:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5), "interval": "step"},
        }


def fit(
    module: L.LightningModule, batch: int, *, epochs: int = 1, n: int = 32, resume: str | None = None, **options: Any
):
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        **{"enable_checkpointing": False, **options},
    )  # fmt: skip
    trainer.fit(module, DataLoader(data(n), batch_size=batch), ckpt_path=resume)
    return trainer


def by_hand(method: mtlgrad.Method, batch: int, *, epochs: int = 1, gamma: float = 1.0) -> Smooth:
    model = Smooth()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma)
    balancer = mtlgrad.Balancer(method, shared=model.trunk.parameters())
    for _ in range(epochs):
        for x in data().split(batch):
            optimizer.zero_grad()
            balancer.backward(model(x))
            optimizer.step()
            schedule.step()
    return model


@pytest.mark.parametrize("method", [mtlgrad.GH(), mtlgrad.RLW(), mtlgrad.MoCo()], ids=lambda method: method.name)
def test_it_is_the_loop_by_hand(method: mtlgrad.Method) -> None:
    net = Net(method)
    trainer = fit(net, 8, epochs=2)
    assert equal(net.model, by_hand(method, 8, epochs=2))
    assert {"balancer/loss/a", "balancer/loss/b"} <= set(trainer.callback_metrics)


def test_the_log_names_what_was_decided() -> None:
    trainer = fit(Net(mtlgrad.GH()), 8)
    wanted = {"weight/a", "norm/b", "min_cosine", "conflicts_before", "conflicts_after"}
    assert {f"balancer/{name}" for name in wanted} <= set(trainer.callback_metrics)


@pytest.mark.parametrize("n", [32, 40])
def test_micro_batches_are_the_large_batch(n: int) -> None:
    """40: the last update of the epoch has two of four."""
    whole, parts = Net(mtlgrad.GH()), Net(mtlgrad.GH(), micro_batches=4)
    fit(whole, 16, n=n)
    trainer = fit(parts, 4, n=n)
    assert trainer.global_step == -(-n // 16)
    for p, q in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_schedulers_step() -> None:
    net = Net(mtlgrad.GH(), schedule=True)
    fit(net, 8)
    assert equal(net.model, by_hand(mtlgrad.GH(), 8, gamma=0.5))


def test_a_resumed_training_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    method = mtlgrad.GradDrop()  # draws, so that a forgotten generator shows
    straight, first, second = Net(method), Net(method), Net(method)
    fit(straight, 8, epochs=2)
    checkpoint = ModelCheckpoint(tmp_path, save_last=True)
    fit(first, 8, epochs=1, enable_checkpointing=True, callbacks=[checkpoint])
    again = ModelCheckpoint(tmp_path, save_last=True)
    fit(second, 8, epochs=2, resume=checkpoint.last_model_path, enable_checkpointing=True, callbacks=[again])
    assert equal(straight, second)
    assert not equal(straight, first)


def test_a_gradient_scaler_is_served() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    plugin.autocast_context_manager = lambda: torch.autocast("cpu", enabled=False)  # compare in float32
    net = Net(mtlgrad.GH())
    seen = []
    net.on_before_optimizer_step = lambda optimizer: seen.append(net.model.a.weight.grad.clone())
    fit(net, 8, plugins=[plugin])
    for p, q in zip(net.model.parameters(), by_hand(mtlgrad.GH(), 8).parameters(), strict=True):
        torch.testing.assert_close(p, q)
    assert len(seen) == 4
    assert max(g.abs().max() for g in seen) < 50  # unscaled before the hook, where gradients are clipped


class Usual(L.LightningModule):
    """One loss, automatic optimisation."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Restless(noise=0.1, dropout=0.3)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return torch.stack(list(self.model(batch).values())).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def test_a_watched_training_is_the_same_to_the_last_bit() -> None:
    monitor = ConflictMonitor(
        lambda module, batch: module.model(batch), lambda module: module.model.trunk.parameters(), every=2
    )
    nets = []
    for callbacks in ([], [MonitorCallback(monitor)]):
        L.seed_everything(1, verbose=False)
        nets.append(Usual())
        trainer = fit(nets[-1], 8, epochs=2, callbacks=callbacks)
    assert equal(*nets)
    assert monitor.steps == 8
    assert "conflict/min_cosine" in trainer.callback_metrics


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("none", [True, False], ids=["None", "left out"])
def test_a_batch_may_lack_a_task(none: bool, micro_batches: int) -> None:
    class Lacking(Net):
        def compute_losses(self, batch: Tensor, batch_idx: int) -> dict[str, Any]:
            losses = super().compute_losses(batch, batch_idx)
            if batch_idx % 4 < 2:
                return losses
            return {"a": losses["a"], "b": None} if none else {"a": losses["a"]}

    net = Lacking(mtlgrad.GH(), micro_batches=micro_batches)
    trainer = fit(net, 8)
    assert trainer.global_step == 4 // micro_batches
    assert all(value.isfinite() for value in trainer.callback_metrics.values())
    assert "balancer/loss/a" in trainer.callback_metrics


def test_what_is_missing_is_told() -> None:
    class Nothing(MultiLossMixin, L.LightningModule):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)

    with pytest.raises(NotImplementedError, match=r"Nothing must define compute_losses\(batch, batch_idx\)"):
        fit(Nothing(), 8)
