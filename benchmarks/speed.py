"""`python -m benchmarks speed`: what a decision costs, beside the peer and beside the least it could cost.

Four questions, each answered by ratios within one run:

- `balancer`: a training step's backward through `Balancer`, against a loop written by hand, and against torchjd.
- `layers`: a step on trunks of several kinds, against one pass a task, against torchjd and against a plain sum.
- `weights`: the decision alone, from a Gramian, against torchjd's.
- `aggregate`: a whole aggregation of a large J, against one Gramian plus one combination.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from rich.table import Table
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional as F

import mtlgrad
from benchmarks import layers
from benchmarks.timing import Quartiles, ratio, take_turns
from mtlgrad import catalog
from mtlgrad.compare.command.arguments import at_least, output_file
from mtlgrad.compare.command.console import make_console
from mtlgrad.compare.environment import provenance, versions
from mtlgrad.compare.schema import write_atomically
from mtlgrad.compare.table import piped
from mtlgrad.linalg import combine, gram

HELP = "what a decision costs, beside torchjd and beside the least it could cost"

SECTIONS = ("balancer", "layers", "weights", "aggregate")
SIZES = (2, 4, 8, 16, 32)
LARGE = ((2, 10_000_000), (8, 1_000_000))

Row = dict[str, Any]

PEERS: dict[str, Callable[[Any, int], Any]] = {
    "upgrad": lambda jd, m: jd.UPGradWeighting(),
    "dualproj": lambda jd, m: jd.DualProjWeighting(),
    "mgda": lambda jd, m: jd.MGDAWeighting(),
    "cagrad": lambda jd, m: jd.CAGradWeighting(c=0.5),
    "pcgrad": lambda jd, m: jd.PCGradWeighting(),
    "gradvac": lambda jd, m: jd.GradVacWeighting(),
    "imtlg": lambda jd, m: jd.IMTLGWeighting(),
    "nashmtl": lambda jd, m: jd.NashMTL(n_tasks=m),
    "fairgrad": lambda jd, m: jd.FairGradWeighting(alpha=2.0),
    "alignedmtl": lambda jd, m: jd.AlignedMTLWeighting(),
    "krum": lambda jd, m: jd.KrumWeighting(n_byzantine=1),
    "config": lambda jd, m: jd.ConFIG(),
}
"""Catalog name to torchjd's object for m tasks."""

FROM_JACOBIAN = {"nashmtl": 0, "config": 100_000}
"""torchjd decides these from J [m, n] only, and so both sides get J: with n = 4m where its decision still is on the
Gramian, with n of a small trunk where it decomposes J itself."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS, help="default: all")
    parser.add_argument("--rounds", type=at_least(1), default=15, help="counted rounds of each decision (default: 15)")
    parser.add_argument("--threads", type=at_least(1), default=1, help="torch threads")
    parser.add_argument("--json", type=output_file, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--out", type=output_file, metavar="FILE.md", help="also write the tables, in Markdown")


def run(args: argparse.Namespace) -> int:
    versions()  # of the code that is loaded, not of what the tree holds by the end
    console = make_console()
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    results: dict[str, list[Row]] = {}
    try:
        for section in args.sections:
            measure, title, rounds_of, _ = _MEASURES[section]
            # NumPy's linear algebra has threads of its own, which get in each other's way on small matrices.
            with console.status(f"measuring {section}"), threadpool_limits(args.threads):
                results[section] = measure(rounds_of(args.rounds))
            console.print(_table(title, results[section]))
    finally:
        torch.set_num_threads(before)
    if args.json:
        plain = {
            s: [{k: asdict(v) if isinstance(v, Quartiles) else v for k, v in row.items()} for row in rows]
            for s, rows in results.items()
        }
        write_atomically(json.dumps(plain, indent=1) + "\n", args.json)
    if args.out:
        write_atomically(markdown(results, rounds=args.rounds, threads=args.threads), args.out)
    return 0


# ---------------------------------------------------------------------------------- balancer


class LeNet:
    """The paper's digit trunk with two heads, a batch of 128, and two losses."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(800, 500), nn.ReLU(),
        )  # fmt: skip
        self.heads = nn.ModuleList([nn.Linear(500, 10), nn.Linear(500, 10)])
        self.images, self.labels = torch.randn(128, 1, 28, 28), torch.randint(0, 10, (2, 128))
        self.shared = list(self.trunk.parameters())
        self.private = [list(head.parameters()) for head in self.heads]

    def forward(self) -> None:
        for p in [*self.shared, *self.heads.parameters()]:
            p.grad = None
        self.features = self.trunk(self.images)
        self.losses = [F.cross_entropy(h(self.features), y) for h, y in zip(self.heads, self.labels, strict=True)]

    def by_hand(self) -> None:
        """What one would write without a library: two `autograd.grad` calls and GH's combination."""
        n = len(self.shared)
        one = torch.autograd.grad(self.losses[0], self.shared + self.private[0], retain_graph=True)
        two = torch.autograd.grad(self.losses[1], self.shared + self.private[1])
        a2 = sum(g.square().sum() for g in one[:n])
        b2 = sum(g.square().sum() for g in two[:n])
        c = sum((g * h).sum() for g, h in zip(one[:n], two[:n], strict=True))
        w1, w2 = (1 - c / a2, 1 - c / b2) if c < 0 else (1.0, 1.0)
        for p, g, h in zip(self.shared, one, two, strict=False):
            p.grad = w1 * g + w2 * h
        for p, g in zip(self.private[0] + self.private[1], one[n:] + two[n:], strict=True):
            p.grad = g


def measure_balancer(rounds: int) -> list[Row]:
    from torchjd.aggregation import UPGrad
    from torchjd.autojac import jac_to_grad, mtl_backward

    net = LeNet()
    balancer = mtlgrad.Balancer(mtlgrad.GH(), net.shared)
    peer = UPGrad()

    def with_torchjd() -> None:
        mtl_backward(net.losses, features=net.features)
        jac_to_grad(net.shared, peer)

    contenders: dict[str, Callable[[], object]] = {
        "two autograd.grad calls, by hand": net.by_hand,
        "Balancer(GH())": lambda: balancer.backward({"a": net.losses[0], "b": net.losses[1]}),
        "Balancer(GH(), features=)": lambda: balancer.backward(
            {"a": net.losses[0], "b": net.losses[1]}, features=net.features
        ),
        "torchjd mtl_backward + UPGrad": with_torchjd,
        "sum of losses, one backward": lambda: torch.stack(net.losses).sum().backward(),
    }
    times = take_turns(contenders, rounds=rounds, before_each=net.forward)
    first = next(iter(contenders))
    return [
        {
            "backward of": name,
            "ms": Quartiles.of([1e3 * t for t in times[name]]),
            "/ by hand": ratio(times, name, first),
        }
        for name in contenders
    ]


def measure_layers(rounds: int) -> list[Row]:
    rows = []
    for make in layers.CASES:
        torch.manual_seed(0)
        case, before, ways = layers.contenders(make)
        times = take_turns(ways, rounds=rounds, before_each=before)
        medians = {f"{name}, ms": Quartiles.of([1e3 * t for t in times[name]]) for name in ways}
        against = {f"Balancer / {name}": ratio(times, "Balancer", name) for name in ("one pass a task", "torchjd")}
        rows.append({"trunk": case.name, "m": case.m, **medians, **against})
    return rows


# ----------------------------------------------------------------------------------- weights


def measure_weights(rounds: int) -> list[Row]:
    from torchjd import aggregation

    rows = []
    for name in PEERS:
        method = catalog.make(name)
        for m in (m for m in SIZES if m >= method.traits.min_tasks):
            peer = PEERS[name](aggregation, m)
            n = FROM_JACOBIAN.get(name) or 4 * m
            J = torch.randn(m, n, generator=torch.Generator().manual_seed(m))
            G = J @ J.T
            if name in FROM_JACOBIAN:
                contenders = {"ours": lambda: method(J), "torchjd": lambda: peer(J)}  # type: ignore[operator]  # noqa: B023
            else:
                contenders = {"ours": lambda: method.weights(G), "torchjd": lambda: peer(G)}  # type: ignore[attr-defined]  # noqa: B023
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the peer's solvers warn on stdout's sibling each call
                times = take_turns(contenders, rounds=rounds, seconds_per_turn=5e-3)
            rows.append(
                {
                    "method": type(method).__name__,
                    "m": m,
                    "from": f"J, n={n:,}" if name in FROM_JACOBIAN else "G",
                    "ours, us": Quartiles.of([1e6 * t for t in times["ours"]]),
                    "torchjd, us": Quartiles.of([1e6 * t for t in times["torchjd"]]),
                    "torchjd / ours": ratio(times, "torchjd", "ours"),
                }
            )
    return rows


# --------------------------------------------------------------------------------- aggregate


def measure_aggregate(rounds: int) -> list[Row]:
    from torchjd import aggregation

    rows = []
    for m, n in LARGE:
        J = torch.randn(m, n, generator=torch.Generator().manual_seed(0))
        weights = torch.rand(m, dtype=torch.float64)

        def floor(J: Tensor = J, weights: Tensor = weights) -> Tensor:
            gram(J)
            return combine(weights, J)

        losses = torch.ones(m)
        peers: dict[str, Any] = {"graddrop": aggregation.GradDrop(), "config": aggregation.ConFIG()}
        for entry in catalog.CATALOG.values():
            method: Any = entry.method
            traits = method.traits
            in_range = traits.min_tasks <= m and (traits.max_tasks is None or m <= traits.max_tasks)
            if (
                method.reads == "losses"
                or not in_range
                or traits.needs_features
                or (traits.stateful and method.reads == "jacobian")
            ):
                continue
            contenders: dict[str, Callable[[], object]] = {
                "floor": floor,
                "ours": lambda method=method, J=J, losses=losses: method(J, losses=losses),  # type: ignore[misc]
            }
            if entry.name in peers:
                contenders["torchjd"] = lambda peer=peers[entry.name], J=J: peer(J)  # type: ignore[misc]
            times = take_turns(contenders, rounds=rounds)
            rows.append(
                {
                    "method": method.name,
                    "J": f"{m} x {n:.0e}",
                    "ms": Quartiles.of([1e3 * t for t in times["ours"]]),
                    "/ (Gramian + combination)": ratio(times, "ours", "floor"),
                    "torchjd / ours": ratio(times, "torchjd", "ours") if "torchjd" in times else None,
                }
            )
    return rows


_MEASURES: dict[str, tuple[Callable[[int], list[Row]], str, Callable[[int], int], str]] = {
    "balancer": (measure_balancer, "One backward: LeNet trunk, batch 128, m = 2", lambda rounds: 2 * rounds, ""),
    "layers": (
        measure_layers,
        "Whole steps on trunks of several kinds",
        lambda rounds: rounds,
        "One step's way from the losses to `.grad`, UPGrad on both sides; with one loss a sample, PCGrad here and "
        "autogram with the mean there.",
    ),
    "weights": (
        measure_weights,
        "The decision alone, from G (rows normal, n = 4m)",
        lambda rounds: rounds,
        "A row is one draw of J, and the draw decides how many rounds a solver takes.",
    ),
    "aggregate": (
        measure_aggregate,
        "Whole aggregation of a large J, float32",
        lambda rounds: max(5, rounds // 2),
        "",
    ),
}
"""Section to what measures it, title, how many rounds it takes for those asked for, and a remark."""


def markdown(results: dict[str, list[Row]], *, rounds: int, threads: int) -> str:
    """The tables as a Markdown document that can be committed."""
    parts = [
        "# What a decision costs",
        f"`python -m benchmarks speed`, {threads} thread{'s' * (threads > 1)}, {provenance('torchjd')}. Median "
        "(quartiles) over rounds in which the contenders take turns; ratios are taken within a round, for the machine "
        "may be shared.",
    ]
    for section, rows in results.items():
        _, title, rounds_of, remark = _MEASURES[section]
        parts += [f"## {title}", f"{rounds_of(rounds)} rounds. {remark}".strip()]
        parts.append(piped(list(rows[0]), [_cells(row) for row in rows]))
    return "\n\n".join(parts) + "\n"


def _cells(row: Row) -> list[str]:
    return ["" if value is None else str(value) for value in row.values()]


def _table(title: str, rows: list[Row]) -> Table:
    table = Table(title=title, caption="median (quartiles); ratios are taken round by round")
    for column in rows[0]:
        table.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        table.add_row(*_cells(row))
    return table
