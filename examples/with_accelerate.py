"""Several losses under Hugging Face accelerate: prepared, accumulated over two batches, saved and resumed.

Run it as it is, or on several processes: ``accelerate launch --num_processes 2 examples/with_accelerate.py``, and
without GPUs ``ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 examples/with_accelerate.py``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, set_seed
from torch.utils.data import DataLoader

import mtlgrad
from mtlgrad.integrations.accelerate import backward

sys.path.insert(0, str(Path(__file__).parent))
from digits import TwoQuestions, accuracy, digits


def main(folder: str, epochs: int = 3) -> float:
    accelerator = Accelerator(gradient_accumulation_steps=2)
    set_seed(0)
    (folder,) = broadcast_object_list([folder])  # all processes use that of the first
    model = TwoQuestions()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(digits(), batch_size=64, shuffle=True))
    trunk = accelerator.unwrap_model(model).trunk
    balancer = mtlgrad.Balancer(mtlgrad.GH(), shared=trunk.parameters())
    accelerator.register_for_checkpointing(balancer)
    for epoch in range(epochs):
        for images, labels in loader:
            with accelerator.accumulate(model):
                record = backward(accelerator, balancer, model(images, labels))
                optimizer.step()
                optimizer.zero_grad()
        accelerator.save_state(folder)
        if record is not None:
            shown = {task: round(loss, 3) for task, loss in zip(record.tasks, record.losses.tolist(), strict=True)}
            accelerator.print(f"epoch {epoch}: {shown}, conflict {bool(record.conflicts_before)}")
    accelerator.wait_for_everyone()
    accelerator.load_state(folder)  # as a resumed run would
    reached = accuracy(accelerator.unwrap_model(model))
    accelerator.print(f"accuracy {reached:.3f}")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return reached


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
