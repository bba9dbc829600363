"""A plain script, as many have one: a trunk, two heads, the sum of their losses."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


def main():
    torch.manual_seed(0)
    images, digits = (torch.tensor(one) for one in load_digits(return_X_y=True))
    images = images.float() / 16
    ink = images.mean(1)
    order = torch.randperm(len(images))
    train, test = order[:400], order[400:]

    trunk = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
    digit_head, ink_head = nn.Linear(32, 10), nn.Linear(32, 1)
    model = nn.ModuleList([trunk, digit_head, ink_head])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    for _ in range(100):
        z = trunk(images[train])
        digit_loss = F.cross_entropy(digit_head(z), digits[train])
        ink_loss = F.mse_loss(ink_head(z)[:, 0], ink[train])
        optimizer.zero_grad()
        (digit_loss + ink_loss).backward()
        optimizer.step()

    with torch.no_grad():
        z = trunk(images[test])
        accuracy = 100 * (digit_head(z).argmax(1) == digits[test]).float().mean().item()
        error = (ink_head(z)[:, 0] - ink[test]).abs().mean().item()
    print(f"accuracy {accuracy:.1f} %, ink error {error:.4f}")


if __name__ == "__main__":
    main()
