"""A problem of one's own: three tasks, eight methods, tuned, five seeds. Needs the extra `compare` only."""

import torch
from torch import nn
from torch.nn import functional as F

from mtlgrad.compare import compare


def data(seed):
    """Points of the plane with noise: which ring, how far along it, and whether the two coordinates agree in sign."""
    generator = torch.Generator().manual_seed(seed)
    angle, ring = 6.2832 * torch.rand(300, generator=generator), torch.randint(3, (300,), generator=generator)
    points = (1.0 + ring)[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    agree = (points.prod(1) > 0).long()
    return points + 0.25 * torch.randn(300, 2, generator=generator), ring, angle.sin(), agree


def train(method, run):
    torch.manual_seed(run.seed)
    trunk = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
    ring_head, height_head, agree_head = nn.Linear(16, 3), nn.Linear(16, 1), nn.Linear(16, 2)
    model = nn.ModuleList([trunk, ring_head, height_head, agree_head])
    optimizer = torch.optim.Adam(model.parameters(), lr=run.options.get("lr", 0.01))
    balancer = run.balancer(method, shared=trunk)
    splits = {"training": data(3 * run.seed), "validation": data(3 * run.seed + 1), "test": data(3 * run.seed + 2)}

    def evaluate(split):
        x, ring, height, agree = splits[split]
        with torch.no_grad():
            z = trunk(x)
            return {
                "ring accuracy": 100 * (ring_head(z).argmax(1) == ring).float().mean(),
                "height error": (height_head(z)[:, 0] - height).abs().mean(),
                "sign accuracy": 100 * (agree_head(z).argmax(1) == agree).float().mean(),
            }

    x, ring, height, agree = splits["training"]
    for step in range(1, 151):
        z = trunk(x)
        ring_loss, agree_loss = F.cross_entropy(ring_head(z), ring), F.cross_entropy(agree_head(z), agree)
        height_loss = F.mse_loss(height_head(z)[:, 0], height)
        optimizer.zero_grad()
        balancer.backward({"ring": ring_loss, "height": height_loss, "sign": agree_loss})
        optimizer.step()
        if step % 50 == 0:
            seen = evaluate("validation")
            run.log(step, seen)
            run.validation(seen["ring accuracy"] - 100 * seen["height error"] + seen["sign accuracy"])
    return evaluate("test")


if __name__ == "__main__":
    compare(
        train,
        methods=["sum", "gh", "pcgrad", "mgda", "cagrad", "imtlg", "rlw", "uw"],
        metrics={"ring accuracy": {"direction": "max", "unit": "%"}, "height error": "min", "sign accuracy": "max"},
        seeds=5,
        tuning={"trials": 4, "seeds": [100], "learning_rate": {"option": "lr", "low": 0.001, "high": 0.1}},
    )
