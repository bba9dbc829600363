"""`python -m benchmarks memory`: the most memory that a step takes beside its graph."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import mtlgrad
from mtlgrad.compare.command.arguments import output_file
from mtlgrad.compare.command.console import make_console
from mtlgrad.compare.environment import provenance, versions
from mtlgrad.compare.schema import write_atomically
from mtlgrad.compare.table import piped
from mtlgrad.engines.in_blocks import InBlocks
from mtlgrad.engines.layerwise import Layerwise
from mtlgrad.engines.per_task import PerTask

HELP = "the most memory that a step takes beside its graph"

SIZES = ((2, 256, 4), (8, 256, 4), (2, 1024, 4), (8, 1024, 4), (8, 1024, 8))
"""Tasks, width, and layers of the trunk."""
BATCH = 16

Ways = dict[str, Callable[[list[Tensor], Tensor], object]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=output_file, metavar="FILE.md", help="also write the table, in Markdown")


def run(args: argparse.Namespace) -> int:
    versions()
    rows = [row for m, width, depth in SIZES for row in measure(m, width, depth)]
    table = Table(title="Extra bytes of a step")
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row.values())
    make_console().print(table)
    if args.out:
        write_atomically(markdown(rows), Path(args.out))
    return 0


def measure(m: int, width: int, depth: int) -> list[dict[str, str]]:
    """One row for every way of making a step with m tasks on a trunk of linear layers."""
    trunk = nn.Sequential(*[layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.ReLU())])
    heads = nn.ModuleList([nn.Linear(width, 1) for _ in range(m)])
    x, n = torch.randn(BATCH, width), sum(p.numel() for p in trunk.parameters())
    block = 4 * m * max(p.numel() for p in trunk.parameters())
    peaks = {name: peak_of_step(trunk, heads, x, way) for name, way in _ways(trunk).items()}
    peaks["torchjd, autogram"] = _peak_of_autogram(copy.deepcopy(trunk), copy.deepcopy(heads), x)
    return [
        {
            "m": str(m),
            "n": f"{n:,}",
            "way": name,
            "peak, MB": f"{peak / 1e6:.2f}",
            "/ plain sum": f"{peak / peaks['plain sum']:.2f}",
            "/ (m n)": f"{peak / (4 * m * n):.2f}",
            "/ (m x longest parameter)": f"{peak / block:.2f}",
        }
        for name, peak in peaks.items()
    ]


def peak_of_step(
    trunk: nn.Module, heads: nn.ModuleList, x: Tensor, way: Callable[[list[Tensor], Tensor], object]
) -> int:
    """The most bytes that are allocated at once on the way from the losses to `.grad`, that included."""
    for p in (*trunk.parameters(), *heads.parameters()):
        p.grad = None
    z = trunk(x)
    losses = [(head(z) - i).square().mean() for i, head in enumerate(heads)]
    return peak_bytes(lambda: way(losses, z))


def peak_bytes(call: Callable[[], object]) -> int:
    """The most bytes that are allocated at once on the CPU during `call`, beside those from before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    profiler = seen.profiler
    assert profiler is not None
    assert profiler.kineto_results is not None
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def _peak_of_autogram(trunk: nn.Module, heads: nn.ModuleList, x: Tensor) -> int:
    """Its own way: the Gramian of the trunk, then one pass of the weighted losses."""
    from torchjd.aggregation import UPGradWeighting
    from torchjd.autogram import Engine

    engine, weighting = Engine(trunk, batch_dim=None), UPGradWeighting()
    z = trunk(x)
    losses = torch.stack([(head(z) - i).square().mean() for i, head in enumerate(heads)])
    return peak_bytes(lambda: losses.backward(weighting(engine.compute_gramian(losses))))


def _ways(trunk: nn.Module) -> Ways:
    from torchjd.aggregation import UPGrad
    from torchjd.autojac import backward, jac_to_grad

    def balanced(engine: type[Layerwise | PerTask | InBlocks]) -> Callable[[list[Tensor], Tensor], object]:
        def step(losses: list[Tensor], z: Tensor) -> object:
            balancer = mtlgrad.Balancer(mtlgrad.UPGrad(), trunk)
            balancer._engines = [engine()]  # a new one, so that buffers which stay are counted
            return balancer.backward({str(i): loss for i, loss in enumerate(losses)})

        return step

    def with_jacobians(losses: list[Tensor], z: Tensor) -> None:
        backward(losses, inputs=list(trunk.parameters()))
        jac_to_grad(list(trunk.parameters()), UPGrad())

    return {
        "plain sum": lambda losses, z: torch.stack(losses).sum().backward(),
        "one pass a task": balanced(PerTask),
        "parameters in blocks": balanced(InBlocks),
        "layer by layer": balanced(Layerwise),
        "torchjd, jac": with_jacobians,
    }


def markdown(rows: list[dict[str, str]]) -> str:
    """The table as a Markdown document that can be committed."""
    return (
        "# What a step takes in memory\n\n"
        f"`python -m benchmarks memory`, {provenance('torchjd')}. Trunks of linear layers with ReLU, batch {BATCH}, a "
        "linear head for each of m tasks, float32 on the CPU, UPGrad. The peak is the most that is allocated at once "
        "from the losses to `.grad`, the n gradients that every way leaves included, the graph of the forward pass "
        "not. "
        "Engines are new ones, so that a buffer that stays for the next step counts; the memory that a way takes is "
        "the same in every run.\n\n" + piped(list(rows[0]), [list(row.values()) for row in rows]) + "\n"
    )
