"""transformers: the loop by hand, accumulated and resumed trainings, evaluation, and the monitor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

import mtlgrad
from mtlgrad.integrations.monitor import ConflictMonitor
from mtlgrad.integrations.transformers import STATE_FILE, MonitorMixin, MultiLossMixin
from tests.integrations.nets import Restless, Smooth, data, equal


class Rows(Dataset):
    def __init__(self, n: int = 32) -> None:
        self.x = data(n)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        return {"x": self.x[k], "labels": self.x[k, 0]}


class Model(nn.Module):
    """As models of transformers do, a mapping out of keyword arguments."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Any]:
        losses = self.net(x)
        return {"loss": torch.stack(list(losses.values())).sum(), "losses": losses, "logits": self.net.trunk(x)}


class MultiLossTrainer(MultiLossMixin, Trainer):
    pass


class WatchedTrainer(MonitorMixin, Trainer):
    pass


def options(folder: Path, **more: Any) -> TrainingArguments:
    usual = {
        "num_train_epochs": 1, "per_device_train_batch_size": 8, "optim": "sgd", "learning_rate": 0.1,
        "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "report_to": [], "disable_tqdm": True, "use_cpu": True,
        "logging_steps": 1, "save_strategy": "no", "train_sampling_strategy": "sequential",
    }  # fmt: skip
    return TrainingArguments(str(folder), **{**usual, **more})


def balancer(model: Model, method: mtlgrad.Method | None = None) -> mtlgrad.Balancer:
    return mtlgrad.Balancer(method or mtlgrad.GH(), shared=model.net.trunk.parameters())


def fit(
    folder: Path, method: mtlgrad.Method, *, n: int = 32, resume: str | None = None, **more: Any
) -> MultiLossTrainer:
    model = Model(Smooth())
    trainer = MultiLossTrainer(model, options(folder, **more), train_dataset=Rows(n), balancer=balancer(model, method))
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def by_hand(method: mtlgrad.Method, batch: int = 8, clip: float | None = None) -> Model:
    model = Model(Smooth())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    decides = balancer(model, method)
    for x in data().split(batch):
        optimizer.zero_grad()
        decides.backward(model(x, x[:, 0])["losses"])
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return model


def close(a: nn.Module, b: nn.Module) -> None:
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize("method", [mtlgrad.GH(), mtlgrad.RLW(), mtlgrad.MoCo()], ids=lambda method: method.name)
def test_it_is_the_loop_by_hand(tmp_path: Path, method: mtlgrad.Method) -> None:
    assert equal(fit(tmp_path, method).model, by_hand(method))


def test_gradients_are_clipped(tmp_path: Path) -> None:
    assert equal(fit(tmp_path, mtlgrad.GH(), max_grad_norm=0.01).model, by_hand(mtlgrad.GH(), clip=0.01))


@pytest.mark.parametrize("n", [32, 40])
def test_accumulated_batches_are_the_large_batch(tmp_path: Path, n: int) -> None:
    """40: the last update has two of four."""
    whole = fit(tmp_path, mtlgrad.GH(), n=n, per_device_train_batch_size=16)
    parts = fit(tmp_path, mtlgrad.GH(), n=n, per_device_train_batch_size=4, gradient_accumulation_steps=4)
    assert parts.state.global_step == -(-n // 16)
    close(whole.model, parts.model)
    for a, b in zip(whole.state.log_history, parts.state.log_history, strict=True):
        for name in {"loss", "loss/a", "loss/b", "weight/a"} & set(a):
            assert a[name] == pytest.approx(b[name], rel=1e-4)


def test_each_loss_is_in_the_log(tmp_path: Path) -> None:
    entries = [entry for entry in fit(tmp_path, mtlgrad.GH(), logging_steps=2).state.log_history if "loss" in entry]
    assert len(entries) == 2
    for entry in entries:
        assert entry["loss/a"] + entry["loss/b"] == pytest.approx(entry["loss"], rel=1e-5)
        assert {"weight/a", "norm/b", "min_cosine", "conflicts_before"} <= set(entry)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_batch_may_lack_a_task(tmp_path: Path, steps: int) -> None:
    """What is logged is the mean over the updates in which the task was there."""
    model, seen = Model(Smooth()), []

    def losses(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[dict[str, Any], Any]:
        found = model(**inputs)["losses"]
        seen.append(found["b"].item())
        return {"a": found["a"], "b": found["b"] if len(seen) <= steps else None}, None

    arguments = options(tmp_path, logging_steps=4 // steps, gradient_accumulation_steps=steps)
    trainer = MultiLossTrainer(
        model, arguments, train_dataset=Rows(32), balancer=balancer(model), compute_losses=losses
    )
    trainer.train()
    (entry,) = [one for one in trainer.state.log_history if "loss" in one]
    assert all(value == value for value in entry.values())
    assert entry["loss/b"] == pytest.approx(sum(seen[:steps]) / steps, rel=1e-5)
    assert trainer.compute_loss(model, {"x": data(4), "labels": data(4)[:, 0]}).isfinite()


def test_a_resumed_training_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    method = mtlgrad.GradDrop()  # draws, so that a forgotten generator shows
    more = {"save_strategy": "steps", "save_steps": 2}
    straight = fit(tmp_path, method, **more)
    resumed = fit(tmp_path, method, resume=str(tmp_path / "checkpoint-2"), **more)
    assert equal(straight.model, resumed.model)
    (tmp_path / "checkpoint-2" / STATE_FILE).unlink()
    with pytest.raises(ValueError, match=f"has no {STATE_FILE}"):
        fit(tmp_path, method, resume=str(tmp_path / "checkpoint-2"), **more)


def test_a_gradient_scaler_is_served(tmp_path: Path) -> None:
    model = Model(Smooth())
    trainer = MultiLossTrainer(model, options(tmp_path), train_dataset=Rows(), balancer=balancer(model))
    scaler = trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    trainer.accelerator.native_amp = False
    trainer.train()
    assert scaler.get_scale() == 1024.0
    close(model, by_hand(mtlgrad.GH()))


def test_a_function_may_give_the_losses_and_another_the_balancer(tmp_path: Path) -> None:
    def compute_losses(model: Model, inputs: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        outputs = model(**inputs)
        return outputs["losses"], {"logits": outputs["logits"]}

    trainer = MultiLossTrainer(
        Model(Smooth()), options(tmp_path), train_dataset=Rows(), balancer=balancer, compute_losses=compute_losses
    )
    trainer.train()
    assert equal(trainer.model, by_hand(mtlgrad.GH()))


def test_evaluation_reports_the_sum(tmp_path: Path) -> None:
    model = Model(Smooth())
    trainer = MultiLossTrainer(model, options(tmp_path), eval_dataset=Rows(), balancer=balancer(model))
    found = trainer.predict(Rows())
    x = data()
    with torch.no_grad():
        wanted = sum(loss.item() for loss in model.net(x).values())
    assert found.metrics["test_loss"] == pytest.approx(wanted, rel=1e-5)
    assert found.predictions.shape == (32, 4)


def test_a_watched_training_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    trainers = []
    for watched in (False, True):
        torch.manual_seed(3)
        model = Model(Restless(noise=0.1, dropout=0.3))
        arguments = options(tmp_path, optim="adamw_torch", gradient_accumulation_steps=2, logging_steps=3, save_steps=1)
        if watched:
            monitor = ConflictMonitor(lambda model, inputs: model(**inputs)["losses"], model.net.trunk, every=1)
            trainers.append(WatchedTrainer(model, arguments, train_dataset=Rows(96), monitor=monitor))
        else:
            trainers.append(Trainer(model, arguments, train_dataset=Rows(96)))
        trainers[-1].train()
    alone, watched = trainers
    assert equal(alone.model, watched.model)
    seen = [entry for entry in watched.state.log_history if "conflict/min_cosine" in entry]
    assert len(seen) == 6
    rest = [entry for entry in watched.state.log_history if "conflict/min_cosine" not in entry]
    assert [set(entry) for entry in rest] == [set(entry) for entry in alone.state.log_history]


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"balancer must be a mtlgrad.Balancer or a function"):
        MultiLossTrainer(Model(Smooth()), options(tmp_path), balancer="gh")

    class OneLoss(Model):
        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Any]:
            return {"loss": self.net(x)["a"]}

    model = OneLoss(Smooth())
    trainer = MultiLossTrainer(model, options(tmp_path), train_dataset=Rows(), balancer=balancer(model))
    with pytest.raises(ValueError, match=r"OneLoss must return a mapping with 'losses'.*got \['loss'\]"):
        trainer.train()
