"""Several losses in a LightningModule: logged, checkpointed, resumed, and watched for conflicts."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

import mtlgrad
from mtlgrad.integrations.lightning import MonitorCallback, MultiLossMixin
from mtlgrad.integrations.monitor import ConflictMonitor

sys.path.insert(0, str(Path(__file__).parent))
from digits import TwoQuestions, accuracy, digits


class Net(MultiLossMixin, L.LightningModule):
    micro_batches = 2

    def __init__(self) -> None:
        super().__init__()
        self.model = TwoQuestions()

    def compute_losses(self, batch: list[Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.model(*batch)

    def configure_balancer(self) -> mtlgrad.Balancer:
        return mtlgrad.Balancer(mtlgrad.GH(), shared=self.model.trunk.parameters())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def main(folder: str, epochs: int = 2) -> float:
    L.seed_everything(0, verbose=False)
    monitor = ConflictMonitor(
        lambda module, batch: module.compute_losses(batch, 0), lambda module: module.model.trunk.parameters(), every=10
    )
    checkpoint = ModelCheckpoint(folder, save_last=True)
    options = {
        "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "logger": False,
        "callbacks": [checkpoint, MonitorCallback(monitor)],
    }  # fmt: skip
    net, loader = Net(), DataLoader(digits(), batch_size=64, shuffle=True)
    trainer = L.Trainer(max_epochs=epochs, **options)
    trainer.fit(net, loader)
    print({name: round(float(value), 3) for name, value in trainer.callback_metrics.items()})
    resumed = L.Trainer(max_epochs=epochs + 1, **options)
    resumed.fit(net, loader, ckpt_path=checkpoint.last_model_path)
    reached = accuracy(net.model)
    print(f"accuracy {reached:.3f}")
    return reached


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
