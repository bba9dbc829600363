"""Several losses in the Trainer of Hugging Face transformers: a small BERT with two heads on digits read row by row."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import BertConfig, BertModel, BertPreTrainedModel, Trainer, TrainingArguments

import mtlgrad
from mtlgrad.integrations.monitor import ConflictMonitor
from mtlgrad.integrations.transformers import MonitorMixin, MultiLossMixin

sys.path.insert(0, str(Path(__file__).parent))
from digits import digits


class Digits(Dataset):
    def __init__(self) -> None:
        images, self.labels = digits().tensors
        self.pixels = (images * 16).long()

    def __len__(self) -> int:
        return 512

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        return {"input_ids": self.pixels[k], "labels": self.labels[k]}


class TwoHeads(BertPreTrainedModel):
    """Which digit, and is it even? The losses come as a mapping, beside the logits."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.digit = nn.Linear(config.hidden_size, 10)
        self.parity = nn.Linear(config.hidden_size, 2)
        self.post_init()

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Any]:
        z = self.bert(input_ids).last_hidden_state.mean(1)
        digit, parity = self.digit(z), self.parity(z)
        losses = {"digit": F.cross_entropy(digit, labels), "parity": F.cross_entropy(parity, labels % 2)}
        return {"losses": losses, "logits": digit}


class MultiLossTrainer(MonitorMixin, MultiLossMixin, Trainer):
    pass


def main(folder: str, steps: int = 12) -> list[dict[str, float]]:
    config = BertConfig(
        vocab_size=17, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    model = TwoHeads(config)
    arguments = TrainingArguments(
        folder, max_steps=steps, per_device_train_batch_size=16, gradient_accumulation_steps=2, learning_rate=3e-3,
        logging_steps=4, save_steps=steps // 2, report_to=[], disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = MultiLossTrainer(
        model,
        arguments,
        train_dataset=Digits(),
        balancer=mtlgrad.Balancer(mtlgrad.GH(), shared=model.bert.parameters()),
        monitor=ConflictMonitor(
            lambda model, inputs: model(**inputs)["losses"], shared=model.bert.parameters(), every=8
        ),
    )
    trainer.train()
    trainer.train(resume_from_checkpoint=f"{folder}/checkpoint-{steps // 2}")
    return trainer.state.log_history


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for entry in main(folder):
            print(entry)
