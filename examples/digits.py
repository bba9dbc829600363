"""What the examples train on: real handwritten digits, and two questions about each that share a trunk."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset


def digits() -> TensorDataset:
    """1,792 images of 8 x 8 pixels in [0, 1], with the digit each shows."""
    images, labels = load_digits(return_X_y=True)
    return TensorDataset(torch.tensor(images[:1792] / 16, dtype=torch.float32), torch.tensor(labels[:1792]))


class TwoQuestions(nn.Module):
    """Which digit is it, and what does the image look like? One trunk, two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Dropout(0.1), nn.Linear(48, 24), nn.ReLU())
        self.classify = nn.Linear(24, 10)
        self.draw = nn.Linear(24, 64)

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        z = self.trunk(images)
        return {
            "classification": F.cross_entropy(self.classify(z), labels),
            "reconstruction": F.mse_loss(self.draw(z), images),
        }


@torch.no_grad()
def accuracy(model: TwoQuestions) -> float:
    """Share of the training images that are classified rightly: a sign of life, no measure of quality."""
    images, labels = digits().tensors
    model.eval()
    return (model.classify(model.trunk(images)).argmax(1) == labels).float().mean().item()
