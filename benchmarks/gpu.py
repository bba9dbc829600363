"""`python -m benchmarks.gpu`: whole steps on a GPU, timed by its own clock; without one it says so and does nothing."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

import mtlgrad
from mtlgrad.engines.per_task import PerTask

ROUNDS = 20


def seconds(call: Callable[[], object]) -> float:
    """Of one call, from the first kernel that is asked for until the last is done."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3


def cases() -> dict[str, tuple[nn.Module, Tensor, int, int]]:
    """Name to trunk, batch, width of the features, and number of tasks."""

    def linear(width: int, depth: int) -> nn.Module:
        return nn.Sequential(*[layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.ReLU())])

    def transformer(width: int) -> nn.Module:
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    return {
        "4 linear layers of 1024, batch 64, m = 2": (linear(1024, 4), torch.randn(64, 1024), 1024, 2),
        "4 linear layers of 1024, batch 64, m = 8": (linear(1024, 4), torch.randn(64, 1024), 1024, 8),
        "8 linear layers of 4096, batch 64, m = 2": (linear(4096, 8), torch.randn(64, 4096), 4096, 2),
        "8 linear layers of 4096, batch 64, m = 8": (linear(4096, 8), torch.randn(64, 4096), 4096, 8),
        "transformer, 2 layers of 512, 16 x 32 tokens, m = 2": (transformer(512), torch.randn(16, 32, 512), 512, 2),
    }


def measure(name: str) -> list[str]:
    torch.manual_seed(0)
    trunk, x, width, m = cases()[name]
    trunk, x = trunk.cuda(), x.cuda()
    heads = nn.ModuleList([nn.Linear(width, 1) for _ in range(m)]).cuda()
    method = mtlgrad.GH() if m == 2 else mtlgrad.UPGrad()
    ours, plain = mtlgrad.Balancer(method, trunk), mtlgrad.Balancer(method, trunk)
    plain._engines = [PerTask()]
    ways: dict[str, Callable[[dict[str, Tensor]], object]] = {
        "plain sum": lambda losses: torch.stack(list(losses.values())).sum().backward(),
        "one pass a task": plain.backward,
        "Balancer": ours.backward,
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for k in range(ROUNDS + 3):
        for way, step in ways.items():
            for p in (*trunk.parameters(), *heads.parameters()):
                p.grad = None
            z = trunk(x)
            losses = {str(i): (head(z) - i).square().mean() for i, head in enumerate(heads)}
            spent = seconds(lambda step=step, losses=losses: step(losses))  # type: ignore[misc]
            if k >= 3:
                times[way].append(spent)
    engine = "" if ours.engine is None else ours.engine.name
    ratio = median(a / b for a, b in zip(times["Balancer"], times["one pass a task"], strict=True))
    return [name, *(f"{1e3 * median(found):.2f}" for found in times.values()), f"{ratio:.2f}", engine]


def markdown(rows: list[list[str]], card: str) -> str:
    """The table as a Markdown document that can be committed."""
    head = ["trunk", "plain sum, ms", "one pass a task, ms", "Balancer, ms", "Balancer / one pass a task", "its way"]
    lines = [head, ["---", *["---:"] * 4, "---"], *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return (
        f"# Whole steps on a GPU\n\n`python -m benchmarks.gpu`, {card}, torch {torch.__version__}, float32. Medians of "
        f"{ROUNDS} rounds in which the ways take turns; the ratio is taken within a round. GH for two tasks, UPGrad "
        f"for more.\n\n{table}\n"
    )


def main(argv: list[str] | None = None) -> int:
    """0, also where there is no GPU: that is said, and nothing is written."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="also write the table, in Markdown")
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("skipped: no GPU here, torch.cuda.is_available() is False")
        return 0
    text = markdown([measure(name) for name in cases()], torch.cuda.get_device_name())
    print(text)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
