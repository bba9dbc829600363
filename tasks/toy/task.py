"""Descent on a two-loss problem: the parameters are the point itself, and the Pareto set is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from mtlgrad.compare.checks import integer, number, one_of
from mtlgrad.compare.problem import Outline, Phase, Problem
from tasks.toy import problems
from tasks.toy.problems import PROBLEMS

Optimizer = Literal["adam", "sgd"]
Decisions = Literal["tensor", "joint", "phase"]

REACHED = 0.1
"""A start has reached the Pareto set when it ends this near to it."""
_ON_PATH = 250  # Points kept of a trajectory: what a plot can show.
_ON_FRONT = 101
_GRID = 61  # Points along each axis of the contour plot.


class Toy(Problem):
    """Runs one problem from one of its starts, or from all of them at once and each for itself.

    All starts in one run take the same settings, and every decision is the one that a run from that start alone would
    make. How that is had cheapest depends on what the method reads, hence `decisions`.

    Parameters
    ----------
    problem:
        A key of `tasks.toy.problems.PROBLEMS`.
    start:
        Index of the start; None: all of them.
    decisions:
        "tensor": one phase with losses summed over the starts, in which the Balancer decides for each start's tensor
        alone (its gradients are those of its own losses); for methods that read gradients and no loss values.
        "joint": one phase and one decision; for methods whose weights depend on nothing (sum, fixed weights), and for
        random weights, which then are the same draws for all starts.
        "phase": a phase, hence a Balancer, per start; for every method, at the highest price.
    steps, lr, optimizer:
        None: the problem's published settings.

    Raises
    ------
    ValueError, TypeError
        An option out of its range, or of the wrong type.

    Examples
    --------
    >>> import mtlgrad
    >>> from mtlgrad.compare.loop import train
    >>> history = train(Toy(problem="convex"), mtlgrad.MGDA(), seed=0, evaluate_every=200)
    >>> history.final.metrics["reached"], history.final.metrics["reached_1"]
    (2.0, 0.0)
    """

    name = "toy"
    metric = "reached"

    def __init__(
        self,
        *,
        problem: str = "surface",
        start: int | None = None,
        decisions: Decisions = "tensor",
        steps: int | None = None,
        lr: float | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        one_of("problem", problem, PROBLEMS)
        self.problem: problems.Problem = PROBLEMS[problem]
        count, published = len(self.problem.starts), self.problem.settings
        one_of("decisions", decisions, get_args(Decisions))
        one_of("optimizer", optimizer, (None, *get_args(Optimizer)))
        if start is not None:
            integer("start", start, low=0, high=count - 1)
        if steps is not None:
            integer("steps", steps, low=1)
        if lr is not None:
            number("lr", lr, positive=True)
        self.starts = list(range(count)) if start is None else [start]
        self.start = start
        self.decisions: Decisions = decisions
        self.steps = published.steps if steps is None else steps
        self.lr = published.lr if lr is None else lr
        self.optimizer: Optimizer = published.optimizer if optimizer is None else optimizer

    @property
    def options(self) -> dict[str, Any]:
        return {
            "problem": self.problem.name,
            "start": self.start,
            "decisions": self.decisions,
            "steps": self.steps,
            "lr": self.lr,
            "optimizer": self.optimizer,
        }

    @property
    def outlines(self) -> dict[str, Outline]:
        several = len(self.starts) > 1 and self.decisions != "phase"
        groups: Literal["tensor"] | None = "tensor" if several and self.decisions == "tensor" else None
        names = ["all starts"] if several else [f"start {start}" for start in self.starts]
        return {name: Outline(2, groups) for name in names}

    @property
    def total_steps(self) -> int:
        return self.steps

    def setup(self, *, seed: int, device: torch.device) -> None:
        """Put the points at their starts. Nothing here is random, so `seed` only reaches the method."""
        starts = [self.problem.starts[k] for k in self.starts]
        # float64: from (9, 9) trajectories are chaotic, and rounding should not choose where they end.
        self.points = [nn.Parameter(torch.tensor(x, dtype=torch.float64, device=device)) for x in starts]
        self.optimizers = [self._optimizer(group) for group in self._groups()]
        self._every = max(1, self.steps // _ON_PATH)
        self._path: list[Tensor] = []

    def step(self, index: int) -> Iterator[Phase]:
        if index % self._every == 0:
            self._path.append(self._positions())
        for k, (points, optimizer) in enumerate(zip(self._groups(), self.optimizers, strict=True)):
            first, second = self.problem.losses(torch.stack(tuple(points))).sum(0).unbind()
            yield Phase(
                name="all starts" if len(points) > 1 else f"start {self.starts[k]}",
                losses={"first": first, "second": second},
                optimizers=[optimizer],
                shared=points,
                groups="tensor" if self.decisions == "tensor" and len(points) > 1 else None,
            )

    def evaluate(self) -> dict[str, float]:
        """How many starts have reached the Pareto set, the distance of the farthest, and both for each start."""
        distances = dict(zip(self.starts, self.problem.distance(self._positions()).tolist(), strict=True))
        reached = {k: float(distance <= REACHED) for k, distance in distances.items()}
        return {
            "reached": sum(reached.values()),
            "distance": max(distances.values()),
            **{f"reached_{k}": value for k, value in reached.items()},
            **{f"distance_{k}": value for k, value in distances.items()},
        }

    def validation_score(self) -> float | None:
        """None: nothing is chosen here, the end counts."""
        return None

    def state_dict(self) -> dict[str, Any]:
        return {
            "points": self._positions(),
            "optimizers": [one.state_dict() for one in self.optimizers],
            "path": list(self._path),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for point, value in zip(self.points, state["points"], strict=True):
                point.copy_(value)
        for optimizer, value in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(value)
        self._path = list(state["path"])

    def exhibits(self) -> dict[str, Any]:
        """The trajectories, in the plane of x where it is one and in the plane of the losses elsewhere."""
        path = torch.stack([*self._path, self._positions()]).cpu()  # [kept, starts, n]
        if self.problem.n == 2:
            front, axes, contours = self.problem.pareto_set(_ON_FRONT), ["x1", "x2"], self._contours()
        else:
            path, front, axes, contours = self.problem.losses(path), self.problem.front(_ON_FRONT), ["f1", "f2"], None
        paths = [_rounded(path[:, k]) for k in range(len(self.starts))]
        return {
            "Trajectories": {
                "kind": "trajectories",
                "axes": axes,
                "starts": self.starts,
                "paths": paths,
                "reached": (self.problem.distance(self._positions()) <= REACHED).tolist(),
                "front": _rounded(front),
                "contours": contours,
            }
        }

    def _groups(self) -> list[list[nn.Parameter]]:
        """The points that share a phase and an optimizer."""
        return [[point] for point in self.points] if self.decisions == "phase" else [self.points]

    def _optimizer(self, points: list[nn.Parameter]) -> torch.optim.Optimizer:
        if self.optimizer == "sgd":
            return torch.optim.SGD(points, lr=self.lr)
        # fused: one kernel for all starts; a step here is all overhead
        return torch.optim.Adam(points, lr=self.lr, fused=True)

    def _positions(self) -> Tensor:
        """[starts, n]"""
        return torch.stack([point.detach() for point in self.points])

    def _contours(self) -> dict[str, Any]:
        """The sum of the losses on a grid that holds starts and Pareto set: z[row][column] at (x[column], y[row])."""
        seen = torch.cat([torch.tensor(self.problem.starts, dtype=torch.float64), self.problem.pareto_set(_ON_FRONT)])
        low, high = seen.amin(0), seen.amax(0)
        margin = 0.1 * (high - low).max()
        x, y = (torch.linspace(float(a - margin), float(b + margin), _GRID) for a, b in zip(low, high, strict=True))
        rows, columns = torch.meshgrid(y.double(), x.double(), indexing="ij")
        z = self.problem.losses(torch.stack([columns, rows], -1)).sum(-1)
        return {"of": "f1 + f2", "x": _rounded(x), "y": _rounded(y), "z": _rounded(z)}


def _rounded(values: Tensor) -> Any:
    """Nested lists with the four decimals that a plot can show: result files stay small."""
    return values.detach().double().round(decimals=4).tolist()
