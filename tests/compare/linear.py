"""A task of a millisecond a step: two regressions on one trunk with dropout, and a warm-up phase of one loss."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from mtlgrad.compare.problem import Outline, Phase, Problem


class Linear(Problem):
    """Phase "warm" trains head a alone; phase "pair" trains trunk and heads on two losses.

    From step `poison_from` on the pair has a NaN loss; at `fail_at` a step raises, at `interrupt_at` it is interrupted
    (Ctrl-C), at `terminate_at` politely killed (SIGTERM), and `hook(index)` runs inside every step.
    """

    name = "linear"
    metric = "accuracy"

    def __init__(
        self,
        *,
        rate: float = 0.05,
        target_bias: float = 0.0,
        fail_at: int | None = None,
        poison_from: int | None = None,
        interrupt_at: int | None = None,
        terminate_at: int | None = None,
        steps: int = 20,
        data_dir: str | None = None,
        hook: Callable[[int], None] | None = None,
    ) -> None:
        self.rate, self.target_bias, self.fail_at, self.poison_from = rate, target_bias, fail_at, poison_from
        self.interrupt_at, self.terminate_at, self.steps = interrupt_at, terminate_at, steps
        self.hook, self.data_dir = hook, data_dir

    def setup(self, *, seed: int, device: torch.device) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.trunk, self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 1), nn.Linear(6, 1)
        self.dropout = nn.Dropout(0.2)
        self.nets = nn.ModuleDict({"trunk": self.trunk, "a": self.a, "b": self.b}).to(device)
        self.all = torch.optim.Adam(self.nets.parameters(), lr=self.rate)
        self.head = torch.optim.SGD(self.a.parameters(), lr=self.rate)
        self.evaluations = 0

    @property
    def options(self) -> dict[str, Any]:
        return {
            "rate": self.rate,
            "target_bias": self.target_bias,
            "fail_at": self.fail_at,
            "poison_from": self.poison_from,
            "interrupt_at": self.interrupt_at,
            "terminate_at": self.terminate_at,
            "steps": self.steps,
            "data_dir": self.data_dir,
        }

    @property
    def total_steps(self) -> int:
        return self.steps

    def _features(self) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(16, 4, generator=self.generator)
        return x, self.dropout(torch.tanh(self.trunk(x)))

    def step(self, index: int) -> Iterator[Phase]:
        x, z = self._features()
        yield Phase("warm", {"a": (self.a(z)[:, 0] - x[:, 0]).square().mean()}, [self.head])
        if self.hook is not None:
            self.hook(index)
        if self.interrupt_at == index:
            os.kill(os.getpid(), signal.SIGINT)
        if self.terminate_at == index:
            os.kill(os.getpid(), signal.SIGTERM)
        if self.fail_at == index:
            raise RuntimeError(f"made to fail at step {index}")
        x, z = self._features()
        poison = float("nan") if self.poison_from is not None and index >= self.poison_from else 1.0
        losses = {
            "a": (self.a(z)[:, 0] - x[:, 0]).square().mean(),
            "b": poison * (self.b(z)[:, 0] + x[:, 0] + self.target_bias).square().mean(),
        }
        yield Phase("pair", losses, [self.all], shared=list(self.trunk.parameters()))

    def evaluate(self) -> dict[str, float]:
        self.evaluations += 1
        # the target metric rises with every evaluation, whatever is learned
        return {
            "accuracy": 50.0 + self.evaluations + 10 * self.target_bias,
            "norm": float(self.trunk.weight.detach().norm()),
        }

    def validation_score(self) -> float | None:
        return -abs(self.evaluations - 2.0)  # the second evaluation is the one to choose

    def exhibits(self) -> dict[str, Any]:
        weights = self.trunk.weight.detach().norm(dim=1).tolist()
        return {
            "the same for all": {"kind": "images", "images": [{"caption": "a dot", "png": "iVBORw0KGgo="}]},
            "weights </script>": {
                "kind": "lines",
                "x": "unit",
                "y": "norm",
                "series": {"trunk": {"x": list(range(len(weights))), "y": weights}},
            },
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "nets": self.nets.state_dict(),
            "all": self.all.state_dict(),
            "head": self.head.state_dict(),
            "generator": self.generator.get_state(),
            "evaluations": self.evaluations,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.nets.load_state_dict(state["nets"])
        self.all.load_state_dict(state["all"])
        self.head.load_state_dict(state["head"])
        self.generator.set_state(state["generator"])
        self.evaluations = state["evaluations"]


class Three(Linear):
    """As `Linear`, with a third loss."""

    @property
    def outlines(self) -> dict[str, Outline]:
        return {"pair": Outline(3)}


class Grouped(Linear):
    """As `Linear`, with a decision for each tensor."""

    @property
    def outlines(self) -> dict[str, Outline]:
        return {"pair": Outline(2, groups="tensor")}
