"""A problem as a stranger has it: a file with a function, three losses, metrics of both directions."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mtlgrad import GramAggregator, Method
from mtlgrad.compare import FunctionRun
from mtlgrad.method import Traits


@dataclass(frozen=True)
class Halves(GramAggregator):
    """Half of the sum."""

    traits = Traits()

    def _weights(self, gram: torch.Tensor, **others: Any) -> torch.Tensor:
        return torch.full(gram.shape[:1], 0.5, dtype=gram.dtype, device=gram.device)


def train(method: Method, run: FunctionRun) -> dict[str, float]:
    """Least squares towards three different targets; `die_at` kills the process once."""
    generator = torch.Generator().manual_seed(run.seed)
    x = torch.randn(64, 6, generator=generator)
    targets = torch.randn(64, 3, generator=generator)
    trunk, heads = nn.Linear(6, 4), nn.ModuleList(nn.Linear(4, 1) for _ in range(3))
    parameters = [*trunk.parameters(), *heads.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=run.options.get("lr", 0.1))
    balancer = run.balancer(method, shared=trunk)
    begin = 0
    state = run.load()
    if state is not None:
        trunk.load_state_dict(state["trunk"])
        heads.load_state_dict(state["heads"])
        balancer.load_state_dict(state["balancer"])
        begin = state["step"]

    def losses() -> dict[str, torch.Tensor]:
        z = torch.tanh(trunk(x))
        return {
            name: (head(z)[:, 0] - y).square().mean() for name, head, y in zip("abc", heads, targets.T, strict=True)
        }

    for step in range(begin, run.options.get("steps", 12)):
        optimizer.zero_grad()
        balancer.backward(losses())
        optimizer.step()
        if step % 4 == 3:
            with torch.no_grad():
                total = float(sum(losses().values()))
            run.log(step + 1, {"loss": total})
            run.validation(-total)
            run.save(
                {
                    "trunk": trunk.state_dict(),
                    "heads": heads.state_dict(),
                    "balancer": balancer.state_dict(),
                    "step": step + 1,
                }
            )
        if run.options.get("die_at") == step and method.name == "GH":
            mark = Path(run.options["mark"]) / f"{run.seed}"
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if run.options.get("exit_at") == step:
            raise SystemExit(3)
    with torch.no_grad():
        final = losses()
    return {
        "loss": float(sum(final.values())),
        "share below 1": 100 * sum(float(one) < 1 for one in final.values()) / 3,
    }
